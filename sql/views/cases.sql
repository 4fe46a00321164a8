-- Grain: one row per case, with its clinical values and outcome as known now
SELECT *
FROM cases_as_of(TIMESTAMPTZ 'infinity')
