"""Not run: harm that the product lets through, and harmless revisions that it refuses, each with the reason why it stays so.
docs/gate.md lists them too, under "What passes it"."""

from __future__ import annotations

from variants import RAW, does, put_in, quietly, sql

KNOWN_GAPS = (
    # No rollback takes it back, so nothing that is said before COMMIT could mend it.
    does("a physical replication slot", "SELECT pg_create_physical_replication_slot('evil')"),
    # By hand in pg_depend: no definition is another, and what DROP would find is no promise.
    does("a dependency removed", "DELETE FROM pg_depend WHERE refobjid = 'users'::regclass AND deptype = 'n'"),
    # They prove nothing, come and go by themselves, and ANALYZE makes them anew.
    does("statistics removed", "DELETE FROM pg_statistic WHERE starelid = 'cases'::regclass"),
    # Stamps and free values of rows that the revision makes: the contract promises the rest of them.
    does("a level made long ago", "UPDATE lawyer_levels SET created_at = '1970-01-01'"),
    does("a mapping of another stamp", "UPDATE workspace_mappings SET created_at = '1970-01-01'"),
    does("a package's update stamp", "UPDATE enterprise_service_packages SET created_at = '1970-01-01'"),
    # The contract leaves open what becomes of ACTIVE users.
    does(
        "a user that was never verified, verified",
        quietly("UPDATE users SET email_verified = true WHERE status = 'ACTIVE'"),
    ),
    # A superuser's revision may undo the guard itself: it is a program, with all the rights of its role.
    put_in(
        "the seal's own function replaced",
        sql(
            "CREATE OR REPLACE FUNCTION pg_temp.lawsker_sealed() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RETURN NULL; END'"
        )
        + "; "
        + RAW
        + "raw.execute('COM' + 'MIT')",
    ),
    does(
        "a large object written while nothing is counted",
        "SET LOCAL track_counts = off; SELECT lo_put(1300001, 0, 'x'); SET LOCAL track_counts = on",
    ),
)

# Harm that the gate stops (exit 11) and the rehearsal does not (10): the copy is shut to PUBLIC from the start.
NOT_SEEN_ON_THE_COPY = (
    does(
        "the right of everybody to connect taken away",
        "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END $$",
        "database (this one): list of grants",
    ),
)

REFUSED_THOUGH_HARMLESS = (
    # It would drop the seal: 55006, "cannot DROP TABLE lawsker_seal because it has pending trigger events".
    does("temporary objects discarded", "DISCARD TEMP"),
    # They take the lock of a writer, which is what the gate goes by; such a table is declared by `writes`.
    does("an update that meets no row of an old table", "UPDATE profiles SET bio = 'x' WHERE false"),
    does("an update explained", "EXPLAIN UPDATE profiles SET bio = NULL"),
    does("an update prepared and forgotten", "PREPARE p AS UPDATE profiles SET bio = 'x'; DEALLOCATE p"),
    does("a lock for writing on an old table", "LOCK TABLE wallets IN ROW EXCLUSIVE MODE"),
    # It locks the table as a writer would, and longer.
    does("an index made and dropped on an old table", "CREATE INDEX stray ON profiles (bio); DROP INDEX stray"),
)
