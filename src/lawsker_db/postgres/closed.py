"""What is compared within one database alone, beside facts.py: a restored copy need not have it alike.

Digests of passwords, the server's own objects and those of extensions (one digest for each catalog and schema or
extension), row types, versions of collations, memberships, other databases. Asked under the same path as facts.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lawsker_db.postgres.facts import grants

FIRST_USER_OID = 16384  # FirstNormalObjectId: what initdb makes has a lower one
# Which column tells the schema of a row `x`, and what of it counts: its columns that do not change by themselves. Columns of
# functions go in as oids: to print the name of each takes three times as long.
_WHOLE = "x::text"
_IN_SCHEMA: Mapping[str, tuple[str, str]] = {
    "pg_proc": ("pronamespace", _WHOLE),
    "pg_class": (
        "relnamespace",
        "row(x.oid, relname, reltype, relowner, relam, relisshared, relpersistence, relkind, relnatts, relchecks,"
        " relrowsecurity, relforcerowsecurity, relispopulated, relreplident, relispartition, relacl, reloptions)::text",
    ),
    "pg_type": (
        "typnamespace",
        "row(x.oid, typname, typowner, typlen, typbyval, typtype, typcategory, typdelim, typelem, typarray, typinput::oid,"
        " typoutput::oid, typreceive::oid, typsend::oid, typalign, typstorage, typnotnull, typbasetype, typtypmod,"
        " typcollation, typdefault, typacl)::text",
    ),
    "pg_operator": (
        "oprnamespace",
        "row(x.oid, oprname, oprowner, oprcanmerge, oprcanhash, oprleft, oprright, oprresult, oprcom, oprnegate,"
        " oprcode::oid, oprrest::oid, oprjoin::oid)::text",
    ),
    "pg_collation": ("collnamespace", _WHOLE),
    "pg_conversion": ("connamespace", _WHOLE),
    "pg_opclass": ("opcnamespace", _WHOLE),
    "pg_opfamily": ("opfnamespace", _WHOLE),
    "pg_ts_config": ("cfgnamespace", _WHOLE),
    "pg_ts_dict": ("dictnamespace", _WHOLE),
    "pg_ts_parser": ("prsnamespace", _WHOLE),
    "pg_ts_template": ("tmplnamespace", _WHOLE),
}
_WITHOUT_SCHEMA = ("pg_language", "pg_cast", "pg_am", "pg_foreign_data_wrapper", "pg_transform", "pg_namespace")
# What hangs on an object: the catalog, the column that names the object, whose catalog, that one's schema. A rule is known
# by the transaction that wrote it: the text of all views of information_schema takes longer than all the rest.
_HANGING = (
    ("pg_attribute", "attrelid", "pg_class", "relnamespace", "row(attrelid, attnum, attname, atttypid, atttypmod,"
     " attnotnull, atthasdef, attidentity, attisdropped, attcollation, attacl, attoptions)::text"),
    ("pg_trigger", "tgrelid", "pg_class", "relnamespace", _WHOLE),
    ("pg_index", "indrelid", "pg_class", "relnamespace", "row(indexrelid, indisunique, indisprimary, indisexclusion,"
     " indimmediate, indisclustered, indisvalid, indisready, indislive, indkey, indoption, indpred)::text"),
    ("pg_rewrite", "ev_class", "pg_class", "relnamespace", "row(x.oid, x.xmin, ev_enabled, is_instead)::text"),
    ("pg_constraint", "conrelid", "pg_class", "relnamespace", _WHOLE),
    ("pg_constraint", "contypid", "pg_type", "typnamespace", _WHOLE),
    ("pg_policy", "polrelid", "pg_class", "relnamespace", _WHOLE),
    ("pg_attrdef", "adrelid", "pg_class", "relnamespace", _WHOLE),
    ("pg_amop", "amopfamily", "pg_opfamily", "opfnamespace", _WHOLE),
    ("pg_amproc", "amprocfamily", "pg_opfamily", "opfnamespace", "row(amprocfamily, amproclefttype, amprocrighttype,"
     " amprocnum, amproc::oid)::text"),
    ("pg_aggregate", "aggfnoid", "pg_proc", "pronamespace", "row(aggfnoid::oid, aggkind, aggtransfn::oid, aggfinalfn::oid,"
     " aggcombinefn::oid, aggmtransfn::oid, aggminvtransfn::oid, aggmfinalfn::oid, aggfinalextra, aggfinalmodify,"
     " aggsortop, aggtranstype, agginitval)::text"),
    ("pg_enum", "enumtypid", "pg_type", "typnamespace", _WHOLE),
    ("pg_ts_config_map", "mapcfg", "pg_ts_config", "cfgnamespace", _WHOLE),
)  # fmt: skip
_OTHERS = "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(temp|toast_temp)_'"
_SYSTEM = "('pg_catalog', 'information_schema')"
# Members of an extension are looked up by their oids, all others by one look at a hashed list: a join of both at once
# takes five times as long, because the planner expects one member and finds a hundred.
_NO_MEMBER = "NOT IN (SELECT objid FROM members WHERE classid = '{catalog}'::regclass)"
_MEMBER = "JOIN members m ON m.classid = '{catalog}'::regclass AND m.objid ="


# Which object a row without an oid of its own is a part of, as pg_describe_object asks for it.
_PART_OF: Mapping[str, str] = {
    "pg_attribute": "'pg_class'::regclass, x.attrelid, x.attnum",
    "pg_index": "'pg_class'::regclass, x.indexrelid, 0",
    "pg_aggregate": "'pg_proc'::regclass, x.aggfnoid, 0",
    "pg_ts_config_map": "'pg_ts_config'::regclass, x.mapcfg, 0",
    "pg_description": "x.classoid, x.objoid, x.objsubid",
}


def _asked(shown: Callable[[str, str], str], what: str) -> str:
    """Pure. One query: for each catalog, and schema of the server or extension, `what` is made of the `row` that is
    `shown` of each of its rows (by catalog, and what counts of it)."""
    parts: list[str] = []
    for catalog, (schema, row) in _IN_SCHEMA.items():
        parts += _parts(catalog, shown(catalog, row), "x", "x.oid", catalog, f"{catalog} x", schema)
    for catalog in _WITHOUT_SCHEMA:
        parts += _parts(catalog, shown(catalog, _WHOLE), "x", "x.oid", catalog, f"{catalog} x")
    for catalog, column, parent, schema, row in _HANGING:
        tables = f"{catalog} x JOIN {parent} p ON p.oid = x.{column}"
        parts += _parts(catalog, shown(catalog, row), "p", f"x.{column}", parent, tables, schema)
    remark = f"'pg_description', {shown('pg_description', _WHOLE)} FROM pg_description x"
    parts += [
        f"SELECT 'the server', {remark} WHERE x.objoid < {FIRST_USER_OID} AND x.classoid <> 'pg_largeobject'::regclass"
        " AND (x.classoid, x.objoid) NOT IN (SELECT classid, objid FROM members)",
        f"SELECT m.scope, {remark} JOIN members m ON m.classid = x.classoid AND m.objid = x.objoid",
    ]
    return (
        "WITH members AS MATERIALIZED (SELECT d.classid, d.objid, 'extension ' || quote_ident(e.extname) AS scope"
        " FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid"
        " WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass)"
        f" SELECT scope || ' in ' || catalog, {what}"
        f" FROM ({' UNION ALL '.join(parts)}) AS s (scope, catalog, row) GROUP BY scope, catalog"
    )


def _counted(_catalog: str, row: str) -> str:
    return row


def _named(catalog: str, _row: str) -> str:
    """Pure. The name of the object, where our own transaction (or another that began later) has written the row."""
    part = _PART_OF.get(catalog, "x.tableoid, x.oid, 0")
    return f"CASE WHEN age(x.xmin) <= 0 THEN pg_describe_object({part}) END"


def _parts(catalog: str, row: str, of: str, oid: str, parent: str, tables: str, schema: str = "") -> tuple[str, str]:
    """Pure. The rows of a catalog that belong to the server, and those that belong to extensions."""
    server = f"{oid} {_NO_MEMBER.format(catalog=parent)}"
    if schema:
        own = f"SELECT 'schema ' || n.nspname, '{catalog}', {row} FROM {tables}"
        own += f" JOIN pg_namespace n ON n.oid = {of}.{schema} WHERE n.nspname IN {_SYSTEM} AND {server}"
    else:
        own = f"SELECT 'the server', '{catalog}', {row} FROM {tables} WHERE {oid} < {FIRST_USER_OID} AND {server}"
    if catalog == "pg_attribute":  # those of the server's own relations have types that nobody can change
        own += " AND x.attacl IS NOT NULL"
    member = f"SELECT m.scope, '{catalog}', {row} FROM {tables} {_MEMBER.format(catalog=parent)} {oid}"
    return own, member


def _subscribed(*columns: str) -> Mapping[str, str]:
    """Pure. The question about options of subscriptions that facts.py does not ask for: who restores one need not have them
    alike. Two-phase commit begins by itself some time after it is asked for."""
    facts = ", ".join(f"'{column}', s.{column}" for column in columns)
    facts = facts.replace("s.subtwophasestate", "s.subtwophasestate <> 'd'")
    return {
        "subscription's options": f"""
        SELECT quote_ident(s.subname), jsonb_build_object({facts})
        FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()"""
    }


_SINCE_14 = ("subbinary", "substream")
_SINCE_15 = (*_SINCE_14, "subtwophasestate", "subdisableonerr", "subskiplsn")
_SINCE_16 = (*_SINCE_15, "suborigin", "subpasswordrequired", "subrunasowner")


OBJECTS_OF, DIGEST = "objects of", "digest"
CLOSED_QUERIES: Mapping[str, str] = {
    OBJECTS_OF: _asked(
        _counted, f"jsonb_build_object('rows', count(*), '{DIGEST}', sum(hashtextextended(row, 0))::text)"
    ),
    "row type": f"""
        SELECT quote_ident(n.nspname) || '.' || quote_ident(y.typname), jsonb_build_object(
            'comment', obj_description(y.oid, 'pg_type'), 'acl', {grants("y.typacl", "T", "y.typowner")})
        FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace LEFT JOIN pg_class c ON c.oid = y.typrelid
        WHERE (c.relkind <> 'c' OR y.oid IN (SELECT typarray FROM pg_type)) AND {_OTHERS}
            AND (y.typacl IS NOT NULL OR y.oid IN (SELECT objoid FROM pg_description
                WHERE classoid = 'pg_type'::regclass))""",
    "collation version": f"""
        SELECT quote_ident(n.nspname) || '.' || quote_ident(o.collname) || ' ' || o.collencoding,
            jsonb_build_object('version', o.collversion)
        FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE {_OTHERS}""",
    "text search configuration": f"""
        SELECT quote_ident(n.nspname) || '.' || quote_ident(c.cfgname), jsonb_build_object('parser',
            (SELECT p.prsnamespace::regnamespace || '.' || quote_ident(p.prsname) FROM pg_ts_parser p
                WHERE p.oid = c.cfgparser))
        FROM pg_ts_config c JOIN pg_namespace n ON n.oid = c.cfgnamespace WHERE {_OTHERS}""",
    "membership": """
        SELECT quote_ident(pg_get_userbyid(m.member)) || ' in ' || quote_ident(pg_get_userbyid(m.roleid)) || ' by '
            || quote_ident(pg_get_userbyid(m.grantor)), to_jsonb(m) - '{oid,roleid,member,grantor}'::text[]
        FROM pg_auth_members m""",
    "other database": f"""
        SELECT quote_ident(d.datname), jsonb_build_object('owner', pg_get_userbyid(d.datdba),
            'oid', d.oid,
            'acl', {grants("d.datacl", "d", "d.datdba")}, 'connection_limit', d.datconnlimit, 'open', d.datallowconn,
            'template', d.datistemplate, 'tablespace', d.dattablespace, 'comment', shobj_description(d.oid, 'pg_database'),
            'settings', (SELECT jsonb_agg(jsonb_build_array(s.setrole, s.setconfig) ORDER BY s.setrole)
                FROM pg_db_role_setting s WHERE s.setdatabase = d.oid))
        FROM pg_database d WHERE d.datname <> current_database()""",
}
NEWER_CLOSED_QUERIES: Mapping[int, Mapping[str, str]] = {
    14: _subscribed(*_SINCE_14),
    15: _subscribed(*_SINCE_15),
    16: _subscribed(*_SINCE_16),
    17: _subscribed(*_SINCE_16, "subfailover"),
}
# Names of what our transaction has written, asked where a digest has come out another.
WRITTEN_OBJECTS = _asked(_named, "array_agg(DISTINCT row ORDER BY row) FILTER (WHERE row IS NOT NULL)")
# For roles that may look: a digest of what the server keeps of a password, of how a subscription connects. They are
# compared, and written nowhere.
SECRETS: Mapping[str, tuple[str, str]] = {
    "login": (
        "has_table_privilege('pg_authid', 'SELECT')",
        """
        SELECT quote_ident(rolname), jsonb_build_object('digest',
            encode(sha256(convert_to(rolpassword, 'UTF8')), 'hex'), 'until', rolvaliduntil)
        FROM pg_authid WHERE rolpassword IS NOT NULL""",
    ),
    "subscription's connection": (
        "has_column_privilege('pg_subscription', 'subconninfo', 'SELECT')",
        """
        SELECT quote_ident(s.subname), jsonb_build_object('digest',
            encode(sha256(convert_to(s.subconninfo, 'UTF8')), 'hex'))
        FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()""",
    ),
}
# Kinds that belong to the server, and the catalogs that a transaction writes to change them.
WRITTEN_IN: Mapping[str, tuple[str, ...]] = {
    "role": ("pg_authid", "pg_shdescription"),
    "login": ("pg_authid",),
    "membership": ("pg_auth_members",),
    "setting": ("pg_db_role_setting",),
    "tablespace": ("pg_tablespace", "pg_shdescription"),
    "parameter": ("pg_parameter_acl",),
    "other database": ("pg_database", "pg_db_role_setting", "pg_shdescription"),
    "shared security label": ("pg_shseclabel",),
}
