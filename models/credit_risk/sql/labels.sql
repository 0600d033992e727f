-- Did the loan default, and when was that known? Defaults are reported after 90 to 182 days, good loans after 180 to 182:
-- a loan without a report is `missing` while the wait of its date lasts (data.label_wait_days), and `never` afterwards
-- (it was not paid out). Of several reports of a loan the first counts.
WITH reports AS (
    SELECT application_id, reported_at, status,
        ROW_NUMBER() OVER (PARTITION BY application_id ORDER BY reported_at, status) AS copy
    FROM repayments
)
SELECT
    a.application_id,
    a.score_date,
    CASE r.status WHEN 'defaulted' THEN 1 WHEN 'performing' THEN 0 END AS defaulted,
    r.reported_at AS label_time,
    CASE
        WHEN r.status IN ('defaulted', 'performing') THEN 'known'
        WHEN a.score_date <= :label_final_date THEN 'never'
        ELSE 'missing'
    END AS label_status
FROM accepted a
LEFT JOIN reports r ON r.application_id = a.application_id AND r.copy = 1
WHERE a.score_date BETWEEN :from_date AND :to_date
