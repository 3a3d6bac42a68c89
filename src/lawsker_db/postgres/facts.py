"""The questions that read what the schema is: one for each kind of object, asked with nothing but pg_catalog on the path.

Each gives a name and a JSON object of facts; facts that are null do not count. Objects of extensions are left out.
"""

from __future__ import annotations

from collections.abc import Mapping


def grants(acl: str, kind: str, owner: str) -> str:
    """Pure. The items of an ACL in order. What the owner has by default is null, whether spelled out or not."""
    items = "SELECT jsonb_agg(i::text ORDER BY i::text) FROM unnest({}) AS i"
    given, default = items.format(acl), items.format(f"acldefault('{kind}', {owner})")
    return f"CASE WHEN {acl} IS NOT NULL THEN nullif(coalesce(({given}), '[]'), coalesce(({default}), '[]')) END"


def within(facts: str) -> str:
    """Pure. Facts for ONLY_WITHIN as a comment of the query, which `opened` turns into a part of it."""
    return f"/*within {facts} within*/"


def opened(query: str) -> str:
    """Pure. A question as it is asked where a database is compared with itself."""
    return query.replace(OWN_LEFT_OUT, ")").replace("/*within", "").replace("within*/", "")


# A dump sorts the options of foreign objects.
_OPTIONS = '(SELECT jsonb_agg(i ORDER BY i COLLATE "C") FROM unnest({options}) AS i)'
# Left out of each question, but where a database is compared with itself.
OWN_LEFT_OUT = ", 'lawsker_db')"
# What facts are called that only a comparison of a database with itself sees: names that a copy, or what a contract builds,
# need not have alike, and OIDs.
ONLY_WITHIN = ("oid", "label_oids", "not_null_name", "of_constraint")
_OURS = (
    f"n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast'{OWN_LEFT_OUT}"
    " AND n.nspname !~ '^pg_(temp|toast_temp)_'"
)
_NO_EXTENSION = (
    "NOT EXISTS (SELECT FROM pg_depend e"
    " WHERE e.classid = '{catalog}'::regclass AND e.objid = {oid} AND e.deptype = 'e')"
)
_COLLATION = "o.collnamespace::regnamespace || '.' || quote_ident(o.collname)"
_DEPENDS = (
    "(SELECT jsonb_agg(ext.extname ORDER BY ext.extname) FROM pg_depend dep JOIN pg_extension ext ON ext.oid = dep.refobjid"
    " WHERE dep.classid = '{catalog}'::regclass AND dep.objid = {oid} AND dep.deptype = 'x')"
)
_NAME = "quote_ident(n.nspname) || '.' || quote_ident({name})"
_TABLE = _NAME.format(name="c.relname")
# What the server does not even look for, because pg_class says that there is none.
_UNSEEN = (
    "nullif(concat_ws(', ', CASE WHEN NOT c.relhasindex AND EXISTS (SELECT FROM pg_index u WHERE u.indrelid = c.oid)"
    " THEN 'indexes' END, CASE WHEN NOT c.relhastriggers AND EXISTS (SELECT FROM pg_trigger u WHERE u.tgrelid = c.oid)"
    " THEN 'triggers' END, CASE WHEN NOT c.relhasrules AND EXISTS (SELECT FROM pg_rewrite u WHERE u.ev_class = c.oid)"
    " THEN 'rules' END, CASE WHEN c.relchecks <> (SELECT count(*) FROM pg_constraint u WHERE u.conrelid = c.oid"
    " AND u.contype = 'c') THEN 'checks' END, CASE WHEN NOT c.relhassubclass AND EXISTS (SELECT FROM pg_inherits u"
    " WHERE u.inhparent = c.oid) THEN 'children' END), '')"
)


_NOT_NULL_NAME = (
    "(SELECT jsonb_build_array(k.conname, obj_description(k.oid, 'pg_constraint')) FROM pg_constraint k"
    " WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey[1] = a.attnum)"
)
_LABEL_OIDS = (
    "(SELECT jsonb_agg(jsonb_build_array(l.oid, l.enumlabel) ORDER BY l.enumsortorder) FROM pg_enum l"
    " WHERE l.enumtypid = y.oid)"
)
_OF_CONSTRAINT = (
    "(SELECT jsonb_build_array(k.conname, obj_description(k.oid, 'pg_constraint')) FROM pg_constraint k"
    " WHERE k.oid = t.tgconstraint AND k.contype = 't')"
)


def _filter(catalog: str, oid: str) -> str:
    return f"{_OURS} AND {_NO_EXTENSION.format(catalog=catalog, oid=oid)}"


QUERIES: Mapping[str, str] = {
    "schema": f"""
        SELECT quote_ident(n.nspname), jsonb_build_object('owner', pg_get_userbyid(n.nspowner),
            'acl', {grants("n.nspacl", "n", "n.nspowner")}, 'comment', obj_description(n.oid, 'pg_namespace'))
        FROM pg_namespace n WHERE {_filter("pg_namespace", "n.oid")}""",
    "table": f"""
        SELECT {_TABLE}, jsonb_build_object('kind', c.relkind, 'persistence', c.relpersistence,
            'owner', pg_get_userbyid(c.relowner), 'acl', {grants("c.relacl", "r", "c.relowner")},
            'options', to_jsonb(c.reloptions), 'row_security', c.relrowsecurity, 'forced', c.relforcerowsecurity,
            'replica_identity', c.relreplident, 'populated', c.relispopulated,
            'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = c.reltablespace),
            'toast_options', (SELECT to_jsonb(x.reloptions) FROM pg_class x WHERE x.oid = c.reltoastrelid),
            'of_type', nullif(c.reloftype, 0)::regtype::text,
            'access_method', (SELECT amname FROM pg_am WHERE oid = c.relam),
            'partition_of', pg_get_expr(c.relpartbound, c.oid),
            'partition_key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
            'inherits', (SELECT jsonb_agg(i.inhparent::regclass::text ORDER BY i.inhseqno)
                FROM pg_inherits i WHERE i.inhrelid = c.oid),
            'foreign', (SELECT jsonb_build_object('server', s.srvname, 'options', {_OPTIONS.format(options="f.ftoptions")})
                FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid),
            'columns', (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
            'definition', CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
            'depends', {_DEPENDS.format(catalog="pg_class", oid="c.oid")}, 'unseen', {_UNSEEN},
            'comment', obj_description(c.oid, 'pg_class'))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_filter("pg_class", "c.oid")}""",
    "column": f"""
        SELECT {_TABLE} || '.' || quote_ident(a.attname), jsonb_build_object(
            'type', format_type(a.atttypid, a.atttypmod), 'not_null', a.attnotnull,
            'not_null_as', (SELECT jsonb_build_array(k.convalidated, k.connoinherit) FROM pg_constraint k
                WHERE k.conrelid = c.oid AND k.contype = 'n' AND k.conkey[1] = a.attnum),
            {within(f"'not_null_name', {_NOT_NULL_NAME},")}
            'unseen', CASE WHEN a.atthasdef <> (d.oid IS NOT NULL) THEN 'default' END,
            'default', pg_get_expr(d.adbin, d.adrelid), 'identity', a.attidentity, 'generated', a.attgenerated,
            'collation', (SELECT {_COLLATION} FROM pg_collation o, pg_type y
                WHERE o.oid = a.attcollation AND y.oid = a.atttypid AND y.typcollation <> a.attcollation),
            'storage', a.attstorage, 'compression', to_jsonb(a) ->> 'attcompression',
            'statistics', nullif(a.attstattarget, -1), 'options', to_jsonb(a.attoptions),
            'local', a.attislocal, 'acl', {grants("a.attacl", "c", "c.relowner")},
            'foreign', {_OPTIONS.format(options="a.attfdwoptions")}, 'comment', col_description(c.oid, a.attnum))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE (a.attnum > 0 OR a.attacl IS NOT NULL) AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c')
            AND {_filter("pg_class", "c.oid")}""",
    "constraint": f"""
        SELECT coalesce({_TABLE}, {_NAME.format(name="y.typname")}) || '.' || quote_ident(k.conname),
            jsonb_build_object('definition', pg_get_constraintdef(k.oid), 'validated', k.convalidated,
            'local', k.conislocal, 'triggers', (SELECT string_agg(DISTINCT t.tgenabled::text, '')
                FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgisinternal),
            'trigger_states', (SELECT string_agg(f.proname || ':' || t.tgenabled::text, ', '
                ORDER BY f.proname, t.tgenabled) FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
                WHERE t.tgconstraint = k.oid AND t.tgisinternal),
            'comment', obj_description(k.oid, 'pg_constraint'))
        FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
        LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type y ON y.oid = k.contypid
        WHERE k.contype NOT IN ('n', 't') AND {_OURS}
            AND {_NO_EXTENSION.format(catalog="pg_class", oid="k.conrelid")}""",
    "index": f"""
        SELECT {_NAME.format(name="x.relname")}, jsonb_build_object('table', {_TABLE},
            'definition', pg_get_indexdef(i.indexrelid),
            'valid', i.indisvalid, 'ready', i.indisready, 'live', i.indislive, 'clustered', i.indisclustered,
            'replica_identity', i.indisreplident, 'options', to_jsonb(x.reloptions),
            'statistics', (SELECT jsonb_agg(a.attstattarget ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = x.oid AND a.attstattarget > -1),
            'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = x.reltablespace),
            'partition_of', (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = x.oid),
            'primary', i.indisprimary, 'unique', i.indisunique, 'exclusion', i.indisexclusion, 'immediate', i.indimmediate,
            'depends', {_DEPENDS.format(catalog="pg_class", oid="x.oid")}, 'comment', obj_description(x.oid, 'pg_class'))
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {_filter("pg_class", "c.oid")}""",
    "trigger": f"""
        SELECT {_TABLE} || '.' || quote_ident(t.tgname), jsonb_build_object('definition', pg_get_triggerdef(t.oid),
            {within(f"'of_constraint', {_OF_CONSTRAINT},")}
            'enabled', t.tgenabled, 'depends', {_DEPENDS.format(catalog="pg_trigger", oid="t.oid")},
            'comment', obj_description(t.oid, 'pg_trigger'))
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE (NOT t.tgisinternal OR t.tgconstraint = 0) AND {_filter("pg_class", "c.oid")}""",  # 0: a clone, until 14
    "rule": f"""
        SELECT {_TABLE} || '.' || quote_ident(r.rulename), jsonb_build_object('definition', pg_get_ruledef(r.oid),
            'enabled', r.ev_enabled, 'comment', obj_description(r.oid, 'pg_rewrite'))
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE r.rulename <> '_RETURN' AND {_filter("pg_class", "c.oid")}""",
    "policy": f"""
        SELECT {_TABLE} || '.' || quote_ident(p.polname), jsonb_build_object('permissive', p.polpermissive,
            'command', p.polcmd, 'roles', (SELECT jsonb_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END
                ORDER BY r) FROM unnest(p.polroles) AS r),
            'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid),
            'comment', obj_description(p.oid, 'pg_policy'))
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_filter("pg_class", "c.oid")}""",
    "function": f"""
        SELECT {_NAME.format(name="p.proname")} || '(' || pg_get_function_identity_arguments(p.oid) || ')',
            jsonb_build_object('definition', CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid)
                ELSE concat_ws(' ', p.prosrc, pg_get_function_result(p.oid), p.provolatile, p.proparallel, p.proisstrict)
                END,
            'aggregate', (SELECT to_jsonb(g) - '{{aggfnoid,aggtranstype,aggmtranstype,aggsortop}}'::text[]
                || jsonb_build_object('state', format_type(g.aggtranstype, NULL),
                    'moving_state', format_type(nullif(g.aggmtranstype, 0), NULL),
                    'order', nullif(g.aggsortop, 0)::regoperator)
                FROM pg_aggregate g WHERE g.aggfnoid = p.oid),
            'kind', p.prokind, 'owner', pg_get_userbyid(p.proowner), 'acl', {grants("p.proacl", "f", "p.proowner")},
            'depends', {_DEPENDS.format(catalog="pg_proc", oid="p.oid")}, 'comment', obj_description(p.oid, 'pg_proc'))
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {_filter("pg_proc", "p.oid")}""",
    "sequence": f"""
        SELECT {_TABLE}, jsonb_build_object('type', format_type(s.seqtypid, NULL), 'start', s.seqstart,
            'increment', s.seqincrement, 'min', s.seqmin, 'max', s.seqmax, 'cache', s.seqcache, 'cycle', s.seqcycle,
            'owner', pg_get_userbyid(c.relowner), 'acl', {grants("c.relacl", "s", "c.relowner")},
            'persistence', c.relpersistence, 'comment', obj_description(c.oid, 'pg_class'),
            'owned_by', (SELECT d.refobjid::regclass::text || '.' || quote_ident(a.attname) FROM pg_depend d
                JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
                AND d.refclassid = 'pg_class'::regclass))
        FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_filter("pg_class", "c.oid")}""",
    "type": f"""
        SELECT {_NAME.format(name="y.typname")}, jsonb_build_object('kind', y.typtype,
            'owner', pg_get_userbyid(y.typowner), 'acl', {grants("y.typacl", "T", "y.typowner")},
            {within(f"'label_oids', {_LABEL_OIDS},")}
            'labels', (SELECT jsonb_agg(l.enumlabel ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = y.oid),
            'base', CASE WHEN y.typtype = 'd' THEN format_type(y.typbasetype, y.typtypmod) END,
            'range', (SELECT jsonb_build_array(format_type(g.rngsubtype, NULL), g.rngcanonical, g.rngsubdiff,
                (SELECT o.opcnamespace::regnamespace || '.' || quote_ident(o.opcname) FROM pg_opclass o
                    WHERE o.oid = g.rngsubopc),
                (SELECT {_COLLATION} FROM pg_collation o WHERE o.oid = g.rngcollation))
                FROM pg_range g WHERE g.rngtypid = y.oid),
            'collation', (SELECT {_COLLATION} FROM pg_collation o WHERE o.oid = y.typcollation AND y.typtype = 'd'),
            'form', CASE WHEN y.typtype = 'b' THEN jsonb_build_array(y.typinput, y.typoutput, y.typreceive, y.typsend,
                y.typlen, y.typbyval, y.typalign, y.typstorage, y.typdelim) END,
            'not_null', y.typnotnull, 'default', coalesce(pg_get_expr(y.typdefaultbin, 0), y.typdefault),
            'comment', obj_description(y.oid, 'pg_type'))
        FROM pg_type y JOIN pg_namespace n ON n.oid = y.typnamespace LEFT JOIN pg_class c ON c.oid = y.typrelid
        WHERE (c.oid IS NULL OR c.relkind = 'c') AND y.oid NOT IN (SELECT typarray FROM pg_type)
            AND {_filter("pg_type", "y.oid")}""",
    "collation": f"""
        SELECT {_NAME.format(name="o.collname")}, to_jsonb(o) - '{{oid,collnamespace,collowner,collversion}}'::text[]
            || jsonb_build_object('owner', pg_get_userbyid(o.collowner), 'comment', obj_description(o.oid, 'pg_collation'))
        FROM pg_collation o JOIN pg_namespace n ON n.oid = o.collnamespace WHERE {_filter("pg_collation", "o.oid")}""",
    "operator": f"""
        SELECT o.oid::regoperator::text, jsonb_build_object('function', o.oprcode::regprocedure::text,
            'commutator', nullif(o.oprcom, 0)::regoperator, 'negator', nullif(o.oprnegate, 0)::regoperator,
            'restrict', o.oprrest, 'join', o.oprjoin, 'hashes', o.oprcanhash, 'merges', o.oprcanmerge,
            'owner', pg_get_userbyid(o.oprowner), 'comment', obj_description(o.oid, 'pg_operator'))
        FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE {_filter("pg_operator", "o.oid")}""",
    "statistics": f"""
        SELECT {_NAME.format(name="s.stxname")}, jsonb_build_object('definition', pg_get_statisticsobjdef(s.oid),
            'target', CASE WHEN (to_jsonb(s) ->> 'stxstattarget')::int > -1 THEN to_jsonb(s) -> 'stxstattarget' END,
            'owner', pg_get_userbyid(s.stxowner), 'comment', obj_description(s.oid, 'pg_statistic_ext'))
        FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
        WHERE {_filter("pg_statistic_ext", "s.oid")}""",
    "cast": """
        SELECT format_type(k.castsource, NULL) || ' AS ' || format_type(k.casttarget, NULL), jsonb_build_object(
            'function', nullif(k.castfunc, 0)::regprocedure::text, 'context', k.castcontext, 'method', k.castmethod,
            'comment', obj_description(k.oid, 'pg_cast'))
        FROM pg_cast k WHERE k.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e
            WHERE e.classid = 'pg_cast'::regclass AND e.objid = k.oid AND e.deptype = 'e')""",
    "extension": """
        SELECT quote_ident(x.extname), jsonb_build_object('version', x.extversion, 'owner', pg_get_userbyid(x.extowner),
            'schema', x.extnamespace::regnamespace::text, 'comment', obj_description(x.oid, 'pg_extension'))
        FROM pg_extension x""",
    "event trigger": """
        SELECT quote_ident(v.evtname), jsonb_build_object('event', v.evtevent, 'enabled', v.evtenabled,
            'function', v.evtfoid::regprocedure::text, 'tags', to_jsonb(v.evttags),
            'owner', pg_get_userbyid(v.evtowner), 'comment', obj_description(v.oid, 'pg_event_trigger'))
        FROM pg_event_trigger v""",
    "publication": """
        SELECT quote_ident(p.pubname), to_jsonb(p) - '{oid,pubowner}'::text[] || jsonb_build_object(
            'owner', pg_get_userbyid(p.pubowner), 'comment', obj_description(p.oid, 'pg_publication'),
            'tables', (SELECT jsonb_agg(r.prrelid::regclass::text ORDER BY r.prrelid::regclass::text)
                FROM pg_publication_rel r WHERE r.prpubid = p.oid))
        FROM pg_publication p""",
    "large object": """
        SELECT d.objoid::text, jsonb_build_object('comment', d.description)
        FROM pg_description d WHERE d.classoid = 'pg_largeobject'::regclass""",
    "object": f"""
        SELECT i.type || ' ' || i.identity, jsonb_build_object('owner', pg_get_userbyid(x.owner), 'facts', x.facts,
            'acl', x.acl, 'comment', obj_description(x.oid, x.catalog::regclass::name))
        FROM (
            SELECT tableoid AS catalog, oid, cfgowner AS owner, (SELECT jsonb_agg(jsonb_build_array(m.maptokentype,
                m.mapdict::regdictionary) ORDER BY m.maptokentype, m.mapseqno) FROM pg_ts_config_map m
                WHERE m.mapcfg = c.oid) AS facts, NULL::jsonb AS acl FROM pg_ts_config c
            UNION ALL SELECT tableoid, oid, dictowner, to_jsonb(dictinitoption), NULL FROM pg_ts_dict
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(prsstart), NULL FROM pg_ts_parser
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(tmpllexize), NULL FROM pg_ts_template
            UNION ALL SELECT tableoid, oid, opcowner, jsonb_build_array(opcdefault, opcintype::regtype::text,
                nullif(opckeytype, 0)::regtype::text, (SELECT f.opfnamespace::regnamespace || '.' || quote_ident(f.opfname)
                FROM pg_opfamily f WHERE f.oid = opcfamily)), NULL FROM pg_opclass
            UNION ALL SELECT tableoid, oid, opfowner, NULL, NULL FROM pg_opfamily
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(amopopr::regoperator), NULL FROM pg_amop m
                WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_opfamily'::regclass
                    AND d.objid = m.amopfamily AND d.deptype = 'e')
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(amproc::regprocedure), NULL FROM pg_amproc m
                WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_opfamily'::regclass
                    AND d.objid = m.amprocfamily AND d.deptype = 'e')
            UNION ALL SELECT tableoid, oid, conowner, jsonb_build_array(conproc, condefault, conforencoding,
                contoencoding), NULL FROM pg_conversion
            UNION ALL SELECT tableoid, oid, lanowner, jsonb_build_array(lanpltrusted, nullif(lanplcallfoid, 0)::regproc,
                nullif(laninline, 0)::regproc, nullif(lanvalidator, 0)::regproc),
                {grants("lanacl", "l", "lanowner")} FROM pg_language
            UNION ALL SELECT tableoid, oid, NULL, to_jsonb(amhandler), NULL FROM pg_am
            UNION ALL SELECT tableoid, oid, fdwowner, jsonb_build_array({_OPTIONS.format(options="fdwoptions")},
                nullif(fdwhandler, 0)::regproc, nullif(fdwvalidator, 0)::regproc),
                {grants("fdwacl", "F", "fdwowner")} FROM pg_foreign_data_wrapper
            UNION ALL SELECT tableoid, oid, NULL, jsonb_build_array(trffromsql, trftosql), NULL FROM pg_transform
            UNION ALL SELECT 'pg_user_mapping'::regclass, umid, NULL,
                to_jsonb(encode(sha256(convert_to({_OPTIONS.format(options="umoptions")}::text, 'UTF8')), 'hex')), NULL
                FROM pg_user_mappings
        ) AS x, LATERAL pg_identify_object(x.catalog, x.oid, 0) AS i
        WHERE x.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend e
            WHERE e.classid = x.catalog AND e.objid = x.oid AND e.deptype = 'e')""",
    "foreign server": f"""
        SELECT quote_ident(s.srvname), jsonb_build_object('owner', pg_get_userbyid(s.srvowner),
            'options', {_OPTIONS.format(options="s.srvoptions")}, 'acl', {grants("s.srvacl", "S", "s.srvowner")},
            'type', s.srvtype, 'version', s.srvversion, 'comment', obj_description(s.oid, 'pg_foreign_server'),
            'wrapper', (SELECT w.fdwname FROM pg_foreign_data_wrapper w WHERE w.oid = s.srvfdw))
        FROM pg_foreign_server s""",
    "default privileges": """
        SELECT pg_get_userbyid(d.defaclrole) || ' ' || coalesce(d.defaclnamespace::regnamespace::text, '*') || ' '
            || d.defaclobjtype::text, jsonb_build_object('acl', (SELECT jsonb_agg(i::text ORDER BY i::text)
            FROM unnest(d.defaclacl) AS i))
        FROM pg_default_acl d""",
    "database": f"""
        SELECT '(this one)', jsonb_build_object('owner', pg_get_userbyid(d.datdba),
            'acl', {grants("d.datacl", "d", "d.datdba")},
            'connection_limit', d.datconnlimit, 'open', d.datallowconn, 'template', d.datistemplate,
            'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = d.dattablespace),
            'comment', shobj_description(d.oid, 'pg_database'))
        FROM pg_database d WHERE d.datname = current_database()""",
    "role": f"""
        SELECT quote_ident(r.rolname), to_jsonb(r) - '{{oid,rolpassword,rolconfig}}'::text[] || jsonb_build_object(
            {within("'oid', r.oid,")} 'comment', shobj_description(r.oid, 'pg_authid'))
        FROM pg_roles r""",
    "subscription": """
        SELECT quote_ident(s.subname), jsonb_build_object('enabled', s.subenabled,
            'publications', to_jsonb(s.subpublications), 'owner', pg_get_userbyid(s.subowner),
            'slot', s.subslotname, 'synchronous', s.subsynccommit, 'comment', obj_description(s.oid, 'pg_subscription'))
        FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database()""",
    "setting": """
        SELECT coalesce(pg_get_userbyid(nullif(s.setrole, 0)), '*'), jsonb_build_object('settings',
            to_jsonb(s.setconfig))
        FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
        WHERE d.datname = current_database()
        UNION ALL SELECT 'role ' || quote_ident(r.rolname), jsonb_build_object('settings', to_jsonb(r.rolconfig))
        FROM pg_roles r WHERE r.rolconfig IS NOT NULL
        UNION ALL SELECT 'role ALL', jsonb_build_object('settings', to_jsonb(s.setconfig))
        FROM pg_db_role_setting s WHERE s.setdatabase = 0 AND s.setrole = 0""",
    "tablespace": f"""
        SELECT quote_ident(t.spcname), jsonb_build_object('owner', pg_get_userbyid(t.spcowner), 'options',
            to_jsonb(t.spcoptions), {within("'oid', t.oid,")} 'acl', {grants("t.spcacl", "t", "t.spcowner")},
            'comment', shobj_description(t.oid, 'pg_tablespace'))
        FROM pg_tablespace t""",
    "security label": """
        SELECT objtype || ' ' || objname || ' ' || provider, jsonb_build_object('label', label) FROM pg_seclabels
        WHERE classoid NOT IN ('pg_database'::regclass, 'pg_authid'::regclass, 'pg_tablespace'::regclass)""",
    "shared security label": """
        SELECT objtype || ' ' || objname || ' ' || provider, jsonb_build_object('label', label) FROM pg_seclabels
        WHERE classoid IN ('pg_database'::regclass, 'pg_authid'::regclass, 'pg_tablespace'::regclass)""",
}
# What needs a catalog or a column that older servers have not.
NEWER_QUERIES: Mapping[int, Mapping[str, str]] = {
    15: {
        "published table": """
            SELECT quote_ident(p.pubname) || ' ' || r.prrelid::regclass, jsonb_build_object(
                'rows', pg_get_expr(r.prqual, r.prrelid), 'columns', (SELECT jsonb_agg(a.attname ORDER BY a.attnum)
                FROM pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)))
            FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid""",
        "published schema": """
            SELECT quote_ident(p.pubname) || ' ' || s.pnnspid::regnamespace, '{}'::jsonb
            FROM pg_publication_namespace s JOIN pg_publication p ON p.oid = s.pnpubid""",
        "parameter": """
            SELECT a.parname, jsonb_build_object('acl', (SELECT jsonb_agg(i::text ORDER BY i::text)
                FROM unnest(a.paracl) AS i)) FROM pg_parameter_acl a""",
    },
}
# What belongs to the server: another database of it, or a copy on another one, need not have it alike.
OF_THE_SERVER = ("role", "membership", "setting", "tablespace", "parameter", "shared security label")
