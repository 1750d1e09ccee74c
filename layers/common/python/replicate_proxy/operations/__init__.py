"""Use cases of operators, behind the admin API and the console. Changes go to the audit trail."""
