-- Primary keys, unique constraints, indexes and foreign keys of the 13 tables.

ALTER TABLE tenants ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);
ALTER TABLE tenants ADD CONSTRAINT tenants_domain_key UNIQUE (domain);
CREATE UNIQUE INDEX ix_tenants_tenant_code ON tenants (tenant_code);
ALTER TABLE roles ADD CONSTRAINT roles_pkey PRIMARY KEY (id);
ALTER TABLE system_configs ADD CONSTRAINT system_configs_pkey PRIMARY KEY (id);
ALTER TABLE users ADD CONSTRAINT users_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX ix_users_email ON users (email);
CREATE UNIQUE INDEX ix_users_phone_number ON users (phone_number);
CREATE UNIQUE INDEX ix_users_username ON users (username);
ALTER TABLE clients ADD CONSTRAINT clients_pkey PRIMARY KEY (id);
ALTER TABLE profiles ADD CONSTRAINT profiles_pkey PRIMARY KEY (user_id);
ALTER TABLE profiles ADD CONSTRAINT profiles_did_key UNIQUE (did);
CREATE INDEX ix_profiles_id_card_number ON profiles (id_card_number);
ALTER TABLE user_roles ADD CONSTRAINT user_roles_pkey PRIMARY KEY (user_id, role_id);
ALTER TABLE wallets ADD CONSTRAINT wallets_pkey PRIMARY KEY (user_id);
ALTER TABLE cases ADD CONSTRAINT cases_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX ix_cases_case_number ON cases (case_number);
ALTER TABLE case_logs ADD CONSTRAINT case_logs_pkey PRIMARY KEY (id);
ALTER TABLE insurances ADD CONSTRAINT insurances_pkey PRIMARY KEY (id);
ALTER TABLE insurances ADD CONSTRAINT insurances_case_id_key UNIQUE (case_id);
ALTER TABLE transactions ADD CONSTRAINT transactions_pkey PRIMARY KEY (id);
ALTER TABLE transactions ADD CONSTRAINT transactions_gateway_txn_id_key UNIQUE (gateway_txn_id);
ALTER TABLE commission_splits ADD CONSTRAINT commission_splits_pkey PRIMARY KEY (id);

ALTER TABLE roles ADD CONSTRAINT roles_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE system_configs ADD CONSTRAINT system_configs_tenant_id_fkey
    FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE users ADD CONSTRAINT users_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE clients ADD CONSTRAINT clients_sales_owner_id_fkey FOREIGN KEY (sales_owner_id) REFERENCES users (id);
ALTER TABLE clients ADD CONSTRAINT clients_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE profiles ADD CONSTRAINT profiles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);
ALTER TABLE user_roles ADD CONSTRAINT user_roles_role_id_fkey FOREIGN KEY (role_id) REFERENCES roles (id);
ALTER TABLE user_roles ADD CONSTRAINT user_roles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);
ALTER TABLE wallets ADD CONSTRAINT wallets_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);
ALTER TABLE cases ADD CONSTRAINT cases_assigned_to_user_id_fkey
    FOREIGN KEY (assigned_to_user_id) REFERENCES users (id);
ALTER TABLE cases ADD CONSTRAINT cases_client_id_fkey FOREIGN KEY (client_id) REFERENCES clients (id);
ALTER TABLE cases ADD CONSTRAINT cases_sales_user_id_fkey FOREIGN KEY (sales_user_id) REFERENCES users (id);
ALTER TABLE cases ADD CONSTRAINT cases_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES tenants (id);
ALTER TABLE case_logs ADD CONSTRAINT case_logs_case_id_fkey FOREIGN KEY (case_id) REFERENCES cases (id);
ALTER TABLE case_logs ADD CONSTRAINT case_logs_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id);
ALTER TABLE insurances ADD CONSTRAINT insurances_case_id_fkey FOREIGN KEY (case_id) REFERENCES cases (id);
ALTER TABLE transactions ADD CONSTRAINT transactions_case_id_fkey FOREIGN KEY (case_id) REFERENCES cases (id);
ALTER TABLE commission_splits ADD CONSTRAINT commission_splits_transaction_id_fkey
    FOREIGN KEY (transaction_id) REFERENCES transactions (id);
ALTER TABLE commission_splits ADD CONSTRAINT commission_splits_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES users (id);
