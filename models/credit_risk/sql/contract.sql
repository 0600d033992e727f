-- Each raw application of :lookback_date .. :to_date, its score date, and why it is not taken (reject_reason; null is good).
-- The good rows become the relation `accepted`, which features.sql and labels.sql read.
SELECT
    CAST(applied_at AS DATE) AS score_date,
    CASE
        WHEN application_id IS NULL THEN 'application id missing'
        WHEN amount IS NULL OR amount <= 0 THEN 'amount missing or not positive'
        WHEN term_months IS NULL OR term_months <= 0 THEN 'term missing or not positive'
        WHEN income <= 0 THEN 'income not positive'
        WHEN ROW_NUMBER() OVER (
            PARTITION BY application_id
            ORDER BY applied_at, channel, region, customer, employment, purpose, amount, term_months, income, obligations
        ) > 1 THEN 'application id used twice'
    END AS reject_reason,
    application_id, applied_at, channel, region, customer, employment, years_employed, income, purpose, amount,
    term_months, obligations, history_months, utilisation, delinquencies_24m, inquiries_6m
FROM applications
WHERE CAST(applied_at AS DATE) BETWEEN :lookback_date AND :to_date
