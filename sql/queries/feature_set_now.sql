-- Grain: one row, the radiomics feature set in force
SELECT max(feature_set_version) AS feature_set_version
FROM radiomics
