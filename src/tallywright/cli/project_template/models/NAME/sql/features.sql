-- The features of each order, from what was known when it was placed (score_moment) and nothing later.
WITH outcomes AS (
    SELECT past.region, d.delivered_at, d.late
    FROM accepted past
    JOIN deliveries d ON d.order_id = past.order_id
),
known AS (
    SELECT a.order_id, SUM(o.late) AS late, COUNT(*) AS deliveries
    FROM accepted a
    JOIN outcomes o
        ON o.region = a.region
        AND o.delivered_at <= a.ordered_at
        AND o.delivered_at > a.ordered_at - INTERVAL '7' DAY
    WHERE a.score_date BETWEEN :from_date AND :to_date
    GROUP BY a.order_id
)
SELECT
    a.score_date,
    a.order_id,
    a.ordered_at AS score_moment,
    a.region,
    a.carrier,
    LEFT(DAYNAME(a.ordered_at), 3) AS day_of_week,
    a.weight_kg,
    a.distance_km,
    CAST(k.late AS DOUBLE) / CAST(k.deliveries AS DOUBLE) AS region_late_rate_7d
FROM accepted a
LEFT JOIN known k ON k.order_id = a.order_id
WHERE a.score_date BETWEEN :from_date AND :to_date
