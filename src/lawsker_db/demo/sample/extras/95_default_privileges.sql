-- Each table that the loading role makes from now on can be read by the second role: revision 013's tables too.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {role};
