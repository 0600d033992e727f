-- Was the order late, and when was that known? Labels arrive late: an order without one is `missing` (not yet) until the
-- wait of its date is over (data.label_wait_days), and `never` (it was cancelled) afterwards. :label_final_date is the
-- last score date that is not waited for any longer; the labels of later dates are read again at every run.
SELECT
    a.order_id,
    a.score_date,
    d.late,
    d.delivered_at AS label_time,
    CASE
        WHEN d.late IS NOT NULL THEN 'known'
        WHEN a.score_date <= :label_final_date THEN 'never'
        ELSE 'missing'
    END AS label_status
FROM accepted a
LEFT JOIN deliveries d ON d.order_id = a.order_id
WHERE a.score_date BETWEEN :from_date AND :to_date
