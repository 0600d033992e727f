-- Was the order late, and when was that known? A cancelled order never gets a label.
SELECT
    a.order_id,
    a.score_date,
    d.late,
    d.delivered_at AS label_time,
    CASE WHEN d.late IS NULL THEN 'never' ELSE 'known' END AS label_status
FROM accepted a
LEFT JOIN deliveries d ON d.order_id = a.order_id
WHERE a.score_date BETWEEN :from_date AND :to_date
