-- The features of each application, from what it says itself (score_moment is the instant at which it was filed).
-- The instalment is a rule of thumb: the rate is set after the score, so it may not be a feature.
SELECT
    score_date,
    application_id,
    applied_at AS score_moment,
    channel,
    region,
    customer,
    employment,
    purpose,
    income,
    amount,
    CAST(term_months AS DOUBLE) AS term_months,
    years_employed,
    obligations,
    CAST(history_months AS DOUBLE) AS history_months,
    utilisation,
    CAST(delinquencies_24m AS DOUBLE) AS delinquencies_24m,
    CAST(inquiries_6m AS DOUBLE) AS inquiries_6m,
    (1.06e0 * amount / term_months + obligations) / income AS burden,
    amount / income AS amount_to_income
FROM accepted
WHERE score_date BETWEEN :from_date AND :to_date
