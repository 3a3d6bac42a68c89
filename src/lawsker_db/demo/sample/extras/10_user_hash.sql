-- A column that a later hand-run script gave to users. One rewrite of the table: an UPDATE would leave it twice as big.
ALTER TABLE users ADD COLUMN user_hash varchar(64);
ALTER TABLE users ALTER COLUMN user_hash TYPE varchar(64)
    USING CASE WHEN left(id::text, 1) <> 'f' THEN md5('hash:' || id) END;
CREATE UNIQUE INDEX ix_users_user_hash ON users (user_hash);
COMMENT ON COLUMN users.user_hash IS 'public name of a user; NULL: not given yet';
