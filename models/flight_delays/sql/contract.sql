-- Each raw flight of :lookback_date .. :to_date with its score date, and why it is not taken (NULL = good).
-- The good rows become the relation `accepted`, which features.sql and labels.sql read.
-- Written in the subset that DuckDB and Spark SQL (session time zone UTC) share; times are minutes since 1970 UTC.
-- The flights arrive as text and are read here, so that an unreadable number is a rejected row and not a failed day.
-- A reason looks at the schedule only: what happened to a flight later may not decide whether it is scored.
WITH dates AS (
    -- Only digits are a number: '7.0', '1e3' or '0x7' would be one to the one system and none to the other.
    SELECT
        t.*,
        TRY_CAST(CASE WHEN TRANSLATE(local_text, '0123456789', '') = '--' AND LENGTH(local_text) = 10
                      THEN local_text END AS DATE) AS local_date,
        TRY_CAST(CASE WHEN TRANSLATE(utc_text, '0123456789', '') = '-- ::' AND LENGTH(utc_text) = 19
                      THEN utc_text END AS TIMESTAMP) AS utc_hour
    FROM (
        SELECT
            f.*,
            f.year || '-' || LPAD(f.month, 2, '0') || '-' || LPAD(f.day, 2, '0') AS local_text,
            REPLACE(REPLACE(f.time_hour, 'Z', ''), 'T', ' ') AS utc_text
        FROM flights f
    ) t
),
dated AS (
    -- The score date is the local date of the scheduled departure; an impossible one is filed under its UTC date.
    -- Rows of other dates go before more of them is read: the file holds a year, and a run needs a day and its lookback.
    SELECT * FROM (SELECT COALESCE(local_date, CAST(utc_hour AS DATE)) AS score_date, dates.* FROM dates) d
    WHERE score_date BETWEEN :lookback_date AND :to_date
),
texts AS (
    SELECT
        source_row, score_date, local_date, utc_hour, carrier, flight, origin, dest,
        CASE WHEN TRANSLATE(sched_dep_time, '0123456789', '') = '' THEN sched_dep_time END AS sched_dep_time,
        CASE WHEN TRANSLATE(sched_arr_time, '0123456789', '') = '' THEN sched_arr_time END AS sched_arr_time,
        CASE WHEN TRANSLATE(distance, '0123456789', '') = '' THEN distance END AS distance,
        CASE WHEN TRANSLATE(dep_time, '0123456789', '') = '' THEN dep_time END AS dep_time,
        CASE WHEN TRANSLATE(dep_delay, '-0123456789', '') = '' THEN dep_delay END AS dep_delay,
        CASE WHEN TRANSLATE(arr_time, '0123456789', '') = '' THEN arr_time END AS arr_time,
        CASE WHEN TRANSLATE(arr_delay, '-0123456789', '') = '' THEN arr_delay END AS arr_delay,
        CASE WHEN TRANSLATE(air_time, '0123456789', '') = '' THEN air_time END AS air_time
    FROM dated
),
readable AS (
    SELECT
        source_row, score_date, local_date, utc_hour, carrier, flight, origin, dest,
        TRY_CAST(sched_dep_time AS INTEGER) AS sched_dep_time,
        TRY_CAST(sched_arr_time AS INTEGER) AS sched_arr_time,
        TRY_CAST(distance AS INTEGER) AS distance,
        TRY_CAST(dep_time AS INTEGER) AS dep_time,
        TRY_CAST(dep_delay AS INTEGER) AS dep_delay,
        TRY_CAST(arr_time AS INTEGER) AS arr_time,
        TRY_CAST(arr_delay AS INTEGER) AS arr_delay,
        TRY_CAST(air_time AS INTEGER) AS air_time
    FROM texts
),
numbered AS (
    SELECT
        readable.*,
        -- days since 1970-01-01, right from 1970 to 2099; neither system's own function is known to the other
        365 * (YEAR(score_date) - 1970) + CAST(FLOOR((YEAR(score_date) - 1969) / 4) AS INTEGER)
            + DAYOFYEAR(score_date) - 1 AS local_day,
        (365 * (YEAR(utc_hour) - 1970) + CAST(FLOOR((YEAR(utc_hour) - 1969) / 4) AS BIGINT)
            + DAYOFYEAR(utc_hour) - 1) * 1440 + HOUR(utc_hour) * 60 AS utc_hour_minute,
        CAST((sched_dep_time - sched_dep_time % 100) / 100 AS INTEGER) AS departure_hour,
        -- minutes since local midnight of the four clock readings (HHMM; 2400 occurs)
        CAST((sched_dep_time - sched_dep_time % 100) / 100 AS INTEGER) * 60 + sched_dep_time % 100 AS sched_dep_clock,
        CAST((sched_arr_time - sched_arr_time % 100) / 100 AS INTEGER) * 60 + sched_arr_time % 100 AS sched_arr_clock,
        CAST((dep_time - dep_time % 100) / 100 AS INTEGER) * 60 + dep_time % 100 AS dep_clock,
        CAST((arr_time - arr_time % 100) / 100 AS INTEGER) * 60 + arr_time % 100 AS arr_clock
    FROM readable
),
zoned AS (
    -- New York's offset follows from the flight's own local and UTC hour: -240 (summer time) or -300 minutes.
    -- An airport that keeps summer time keeps it when New York does. Four are missing from the airports: Atlantic time.
    SELECT
        n.*,
        n.utc_hour_minute + n.sched_dep_time % 100 AS scheduled_minute,
        n.local_day * 1440 + n.departure_hour * 60 - n.utc_hour_minute AS origin_offset,
        CASE WHEN n.dest IN ('BQN', 'PSE', 'SJU', 'STT') THEN -240
             WHEN a.dst = 'A' AND n.local_day * 1440 + n.departure_hour * 60 - n.utc_hour_minute = -240
                 THEN a.tz * 60 + 60
             ELSE a.tz * 60 END AS dest_offset
    FROM numbered n
    LEFT JOIN airports a ON a.faa = n.dest
),
timed AS (
    SELECT
        zoned.*,
        scheduled_minute - 120 AS moment_minute,
        scheduled_minute + dep_delay AS departed_minute,
        ((sched_arr_clock - dest_offset - sched_dep_clock + origin_offset) % 1440 + 1440) % 1440 AS scheduled_minutes,
        ((arr_clock - dest_offset - dep_clock + origin_offset) % 1440 + 1440) % 1440 AS elapsed_minutes
    FROM zoned
),
judged AS (
    SELECT
        timed.*,
        CASE
            WHEN carrier IS NULL THEN 'carrier missing'
            WHEN flight IS NULL OR flight = '' OR TRANSLATE(flight, '0123456789', '') <> '' THEN 'flight number missing or not a number'
            WHEN origin IS NULL OR origin NOT IN ('EWR', 'JFK', 'LGA') THEN 'origin is not a New York airport'
            WHEN dest IS NULL THEN 'destination missing'
            WHEN local_date IS NULL THEN 'impossible date'
            WHEN sched_dep_time IS NULL OR sched_dep_time NOT BETWEEN 0 AND 2359 OR sched_dep_time % 100 > 59
                THEN 'impossible scheduled departure'
            WHEN sched_arr_time IS NULL OR sched_arr_time NOT BETWEEN 0 AND 2400 OR sched_arr_time % 100 > 59
                THEN 'impossible scheduled arrival'
            WHEN utc_hour IS NULL OR origin_offset NOT IN (-240, -300)
                THEN 'UTC hour disagrees with the scheduled departure'
            WHEN distance IS NULL OR distance <= 0 THEN 'distance missing or not positive'
        END AS defect
    FROM timed
),
counted AS (
    -- Of several good rows with one key the first by schedule is taken; a defective row takes nobody's place.
    SELECT
        judged.*,
        ROW_NUMBER() OVER (
            PARTITION BY score_date, carrier, flight, origin, sched_dep_time, defect IS NULL
            ORDER BY dest, sched_arr_time, distance, utc_hour_minute, dep_time, arr_time, dep_delay, arr_delay, air_time
        ) AS copy
    FROM judged
)
SELECT
    score_date,
    CASE WHEN defect IS NOT NULL THEN defect WHEN copy > 1 THEN 'duplicate key' END AS reject_reason,
    carrier || '-' || flight || '-' || origin || '-' || LPAD(CAST(sched_dep_time AS STRING), 4, '0') AS flight_id,
    carrier, flight, origin, dest, distance,
    sched_dep_time, sched_arr_time, local_day, departure_hour,
    sched_dep_clock AS departure_minute,
    scheduled_minutes,
    scheduled_minute,
    moment_minute,
    -- The future, each with the minute it becomes known (NULL: never). A departure is known when it happens ...
    departed_minute,
    dep_delay,
    -- ... and whether a flight was late when it reached the gate. Two ways to that instant agree in all of 2013; should
    -- they not, the later counts, and without the destination's time zone a whole day is added: never too early.
    CASE WHEN arr_delay IS NOT NULL AND dep_delay IS NOT NULL AND arr_time IS NOT NULL AND air_time IS NOT NULL THEN
        CASE WHEN dest_offset IS NULL THEN departed_minute + air_time + 1440
             ELSE GREATEST(
                 departed_minute + elapsed_minutes,
                 scheduled_minute + scheduled_minutes + arr_delay,
                 departed_minute + air_time)
        END
    END AS arrived_minute,
    CASE WHEN arr_delay IS NOT NULL AND dep_delay IS NOT NULL AND arr_time IS NOT NULL AND air_time IS NOT NULL THEN
        CASE WHEN arr_delay > 15 THEN 1 ELSE 0 END
    END AS late,
    source_row   -- which raw row it is: `tally ingest` counts them by file, and the quarantine names file and line
FROM counted
