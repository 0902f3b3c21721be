-- What the code of commit 092d48d, whose schema version 3 was never released, left in gephyra.sqlite3.
BEGIN TRANSACTION;
CREATE TABLE blobs (
	tenant VARCHAR NOT NULL, 
	sha256 VARCHAR NOT NULL, 
	size BIGINT NOT NULL, 
	create_time BIGINT NOT NULL, 
	PRIMARY KEY (tenant, sha256)
);
INSERT INTO "blobs" VALUES('local','0000000000000000000000000000000000000000000000000000000000000000',7,1);
CREATE TABLE datasets (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	tenant VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	display_name VARCHAR NOT NULL, 
	origin VARCHAR NOT NULL, 
	content VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	rows BIGINT NOT NULL, 
	columns INTEGER NOT NULL, 
	dtype VARCHAR NOT NULL, 
	on_levels BOOLEAN NOT NULL, 
	facts JSON NOT NULL, 
	create_time BIGINT NOT NULL, 
	UNIQUE (tenant, name)
);
INSERT INTO "datasets" VALUES(1,'local','people','uid','people.csv','o','c','d',9,2,'float32',0,'[{"name": "a", "minimum": 0.0, "maximum": 1.0, "distinct": 9, "constant": false, "tied": false, "on_levels": false}, {"name": "b", "minimum": 0.0, "maximum": 1.0, "distinct": 9, "constant": false, "tied": false, "on_levels": false}]',1);
CREATE TABLE events (
	job INTEGER NOT NULL, 
	sequence INTEGER NOT NULL, 
	content BLOB NOT NULL, 
	PRIMARY KEY (job, sequence), 
	FOREIGN KEY(job) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES(1,1,X'1A031088272001');
INSERT INTO "events" VALUES(1,2,X'6D657472696373');
CREATE TABLE idempotency (
	tenant VARCHAR NOT NULL, 
	method VARCHAR NOT NULL, 
	request_id VARCHAR NOT NULL, 
	request_sha256 VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	create_time BIGINT NOT NULL, 
	PRIMARY KEY (tenant, method, request_id)
);
INSERT INTO "idempotency" VALUES('local','CreateTrainingJob','6a6ad6a1-6f5c-4a10-8f5e-0a4a2a9a2a11','hash','job-one',5);
CREATE TABLE jobs (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	tenant VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	target_digest VARCHAR NOT NULL, 
	settings JSON NOT NULL, 
	start VARCHAR DEFAULT '' NOT NULL, 
	start_digest VARCHAR DEFAULT '' NOT NULL, 
	state VARCHAR NOT NULL, 
	attempt INTEGER NOT NULL, 
	crashes INTEGER NOT NULL, 
	error JSON, 
	sampler VARCHAR NOT NULL, 
	metrics JSON, 
	last_sequence INTEGER NOT NULL, 
	create_time BIGINT NOT NULL, 
	start_time BIGINT, 
	end_time BIGINT, 
	UNIQUE (tenant, name)
);
INSERT INTO "jobs" VALUES(1,'local','job-one','uid-job-one','t-one','d1','{"method": "cmcd-ud", "loss": "tb", "precondition": "none", "integrator": "obabo", "budget": {"iterations": null, "seconds": null, "target_evaluations": 7}, "goal": {"ess_fraction": 0.5, "gap": null}, "seed": 18446744073709551615, "batch_size": 256, "steps": 32, "width": 64, "learning_rate": 0.005, "learn": {"diffusion": true, "prior": false, "annealing": true, "time": true, "diffusion_rate": 1.0, "prior_rate": 1.0, "annealing_rate": 1.0, "time_rate": 3.0}, "reward_to_go": false, "ema": 0.5, "device": "cpu", "precision": "float64"}','sampler-zero','d0','queued',0,0,NULL,'','{"stage": "train", "step": 3, "seconds": 1.5, "fraction": 0.5, "loss": NaN, "elbo": -1.0, "log_z": -Infinity, "ess_fraction": 0.25, "steps_per_second": 10.0, "target_evaluations": 12, "non_finite_paths": 0}',2,5,NULL,NULL);
CREATE TABLE samplers (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	tenant VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	target VARCHAR NOT NULL, 
	target_digest VARCHAR NOT NULL, 
	job VARCHAR NOT NULL, 
	settings JSON NOT NULL, 
	report JSON NOT NULL, 
	dim INTEGER NOT NULL, 
	sites JSON NOT NULL, 
	digest VARCHAR NOT NULL, 
	create_time BIGINT NOT NULL, 
	UNIQUE (tenant, name)
);
INSERT INTO "samplers" VALUES(1,'local','sampler-one','uid','t-one','d1','job-one','{"method": "cmcd-ud", "loss": "tb", "precondition": "none", "integrator": "obabo", "budget": {"iterations": null, "seconds": null, "target_evaluations": 7}, "goal": {"ess_fraction": 0.5, "gap": null}, "seed": 18446744073709551615, "batch_size": 256, "steps": 32, "width": 64, "learning_rate": 0.005, "learn": {"diffusion": true, "prior": false, "annealing": true, "time": true, "diffusion_rate": 1.0, "prior_rate": 1.0, "annealing_rate": 1.0, "time_rate": 3.0}, "reward_to_go": false, "ema": 0.5, "device": "cpu", "precision": "float64"}','{"elbo": -1.0, "elbo_se": 0.1, "log_z": -0.9, "log_z_se": 0.2, "ess_fraction": 0.5, "k_hat": NaN, "paths": 16, "seed": 9223372036854775808, "non_finite_paths": 1, "target_evaluations": 99, "times": {"precondition_seconds": 1.0, "train_seconds": 2.0, "evaluate_seconds": 3.0, "startup_seconds": 4.0}, "precondition": {"name": "annealed", "elbo": -2.0, "start": "zero", "log_z": -1.1, "log_z_se": 0.3, "ess_fraction": 0.4, "k_hat": 0.6, "modes": 3, "components": 2, "beyond": 0.01}, "warnings": ["a warning"], "eubo": -0.5, "eubo_se": 0.1, "reference_log_z": null, "served": "bridge", "log_z_low": -1.2, "log_z_high": -0.5, "interval_holds": true, "k_hat_limit": 0.7, "eubo_source": "polished", "eubo_paths": 8, "log_z_forward": -0.8, "log_z_forward_se": 0.3, "polish": {"draws": 64, "steps": 10, "step_size": 0.5, "imh_acceptance": null, "mala_acceptance": 0.6, "mean_shift": 0.1, "sd_shift": 0.2, "shift_se": 0.05}, "modes_seen": 3, "modes_drawn": 2}',3,'[{"name": "theta", "shape": [2, 3], "dtype": "float64", "deterministic": false}, {"name": "y", "shape": [], "dtype": "int64", "deterministic": true}]','d2',9);
CREATE TABLE targets (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	tenant VARCHAR NOT NULL, 
	name VARCHAR NOT NULL, 
	uid VARCHAR NOT NULL, 
	state VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	dim INTEGER NOT NULL, 
	source VARCHAR NOT NULL, 
	sites JSON NOT NULL, 
	log_z FLOAT, 
	error JSON, 
	create_time BIGINT NOT NULL, 
	UNIQUE (tenant, name)
);
INSERT INTO "targets" VALUES(1,'local','t-one','uid-t-one','ready','d1',3,'somewhere','[{"name": "theta", "shape": [2, 3], "dtype": "float64", "deterministic": false}, {"name": "y", "shape": [], "dtype": "int64", "deterministic": true}]',-1.5,NULL,1);
CREATE TABLE versions (
	subject VARCHAR NOT NULL, 
	version INTEGER NOT NULL, 
	PRIMARY KEY (subject)
);
INSERT INTO "versions" VALUES('schema',3);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_datasets_content ON datasets (content);
CREATE INDEX ix_datasets_origin ON datasets (origin);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('targets',1);
INSERT INTO "sqlite_sequence" VALUES('jobs',1);
INSERT INTO "sqlite_sequence" VALUES('samplers',1);
INSERT INTO "sqlite_sequence" VALUES('datasets',1);
COMMIT;
