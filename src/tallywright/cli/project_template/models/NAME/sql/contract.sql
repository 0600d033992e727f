-- Each raw order of :lookback_date .. :to_date, its score date, and why it is not taken (reject_reason; null is good).
-- The good rows become the relation `accepted`, which features.sql and labels.sql read.
SELECT
    CAST(ordered_at AS DATE) AS score_date,
    CASE
        WHEN order_id IS NULL THEN 'order id missing'
        WHEN weight_kg IS NULL OR weight_kg <= 0 THEN 'weight missing or not positive'
        WHEN ROW_NUMBER() OVER (PARTITION BY order_id ORDER BY ordered_at, region, carrier, weight_kg) > 1
            THEN 'order id used twice'
    END AS reject_reason,
    order_id, ordered_at, region, carrier, weight_kg, distance_km
FROM orders
WHERE CAST(ordered_at AS DATE) BETWEEN :lookback_date AND :to_date
