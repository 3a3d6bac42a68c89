-- What a second role, for reports, may do; also what everybody may no longer do.
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role};
GRANT UPDATE (email, phone_number), REFERENCES (id) ON users TO {role} WITH GRANT OPTION;
GRANT INSERT ON case_logs TO PUBLIC;
GRANT USAGE, SELECT ON SEQUENCE invoice_number TO {role};
GRANT SELECT ON LARGE OBJECT 1300001 TO {role};
GRANT USAGE ON TYPE casestatus TO {role};
REVOKE EXECUTE ON FUNCTION calculate_commission(numeric, numeric) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION calculate_commission(numeric, numeric) TO {role};
CREATE POLICY report_sees_all ON clients FOR SELECT TO {role} USING (true);
