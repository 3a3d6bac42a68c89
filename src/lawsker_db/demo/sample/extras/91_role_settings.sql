-- A setting of that role in this database only: it hangs on the database, not on any of its objects.
DO $do$ BEGIN
    EXECUTE format('ALTER ROLE %s IN DATABASE %I SET statement_timeout = %L', '{role}', current_database(), '10min');
END $do$;
