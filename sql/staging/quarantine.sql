-- Grain: one row per item set aside, as it stands now
SELECT *
FROM raw_quarantine
QUALIFY row_number() OVER (PARTITION BY item_key, kind ORDER BY commit_seq DESC NULLS FIRST) = 1
