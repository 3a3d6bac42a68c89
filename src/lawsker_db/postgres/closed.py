"""What is compared within one database alone, beside facts.py: a restored copy need not have it alike.

Digests of passwords, the server's own objects and those of extensions (one digest for each catalog and schema or
extension), row types, versions of collations, memberships, other databases. Asked under the same path as facts.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from lawsker_db.postgres.facts import grants

FIRST_USER_OID = 16384  # FirstNormalObjectId: what initdb makes has a lower one
# Which column tells the schema of a row `x`, and what of it counts: its columns that do not change by themselves. Functions
# go in as oids: to print the name of each takes three times as long.
_WHOLE = "x::text"
_IN_SCHEMA: Mapping[str, tuple[str, str]] = {
    "pg_proc": (
        "pronamespace",
        "row(x.oid, proname, proowner, prolang, procost, prorows, prosupport::oid, prokind, prosecdef, proleakproof,"
        " proisstrict, proretset, provolatile, proparallel, prorettype, proargtypes, prosrc, probin, proconfig,"
        " proacl)::text",
    ),
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


def _digested() -> str:
    """Pure. One query: for each catalog, and schema of the server or extension, how many rows it has and a digest."""
    parts: list[str] = []
    for catalog, (schema, row) in _IN_SCHEMA.items():
        parts += _parts(catalog, row, "x", "x.oid", catalog, f"{catalog} x", schema)
    for catalog in _WITHOUT_SCHEMA:
        parts += _parts(catalog, _WHOLE, "x", "x.oid", catalog, f"{catalog} x")
    for catalog, column, parent, schema, row in _HANGING:
        tables = f"{catalog} x JOIN {parent} p ON p.oid = x.{column}"
        parts += _parts(catalog, row, "p", f"x.{column}", parent, tables, schema)
    described = "pg_description x"
    parts += [
        f"SELECT 'the server', 'pg_description', x::text FROM {described} WHERE x.objoid < {FIRST_USER_OID}"
        " AND x.classoid <> 'pg_largeobject'::regclass"
        " AND (x.classoid, x.objoid) NOT IN (SELECT classid, objid FROM members)",
        f"SELECT m.scope, 'pg_description', x::text FROM {described} JOIN members m ON m.classid = x.classoid"
        " AND m.objid = x.objoid",
    ]
    return (
        "WITH members AS MATERIALIZED (SELECT d.classid, d.objid, 'extension ' || quote_ident(e.extname) AS scope"
        " FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid"
        " WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass)"
        " SELECT scope || ' in ' || catalog, jsonb_build_object('rows', count(*), 'digest',"
        " sum(hashtextextended(row, 0))::text)"
        f" FROM ({' UNION ALL '.join(parts)}) AS s (scope, catalog, row) GROUP BY scope, catalog"
    )


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


OBJECTS_OF = "objects of"
CLOSED_QUERIES: Mapping[str, str] = {
    OBJECTS_OF: _digested(),
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
    "membership": """
        SELECT quote_ident(pg_get_userbyid(m.member)) || ' in ' || quote_ident(pg_get_userbyid(m.roleid)) || ' by '
            || quote_ident(pg_get_userbyid(m.grantor)), to_jsonb(m) - '{oid,roleid,member,grantor}'::text[]
        FROM pg_auth_members m""",
    "other database": f"""
        SELECT quote_ident(d.datname), jsonb_build_object('owner', pg_get_userbyid(d.datdba),
            'acl', {grants("d.datacl", "d", "d.datdba")}, 'connection_limit', d.datconnlimit, 'open', d.datallowconn,
            'template', d.datistemplate, 'tablespace', d.dattablespace, 'comment', shobj_description(d.oid, 'pg_database'),
            'settings', (SELECT jsonb_agg(jsonb_build_array(s.setrole, s.setconfig) ORDER BY s.setrole)
                FROM pg_db_role_setting s WHERE s.setdatabase = d.oid))
        FROM pg_database d WHERE d.datname <> current_database()""",
}
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
