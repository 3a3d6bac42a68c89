-- A row-level-security policy. It is not FORCEd: the owner, and so every migration, sees all rows.
ALTER TABLE clients ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON clients
    USING (tenant_id::text = current_setting('lawsker.tenant_id', true))
    WITH CHECK (tenant_id::text = current_setting('lawsker.tenant_id', true));
COMMENT ON POLICY tenant_isolation ON clients IS 'each tenant sees its own clients';
