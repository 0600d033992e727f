-- Was the flight more than 15 minutes late at the gate, and when was that known (UTC)?
-- Cancelled and diverted flights never get a label: they are scored and counted in coverage.
SELECT
    flight_id,
    score_date,
    CAST(late AS INTEGER) AS late,
    TIMESTAMP '1970-01-01 00:00:00' + arrived_minute * INTERVAL '1' MINUTE AS label_time,
    CASE WHEN late IS NULL THEN 'never' ELSE 'known' END AS label_status
FROM accepted
WHERE score_date BETWEEN :from_date AND :to_date
