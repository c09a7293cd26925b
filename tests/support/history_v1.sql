BEGIN TRANSACTION;
CREATE TABLE measurements (
	id INTEGER NOT NULL, 
	session_id INTEGER NOT NULL, 
	nodeid TEXT NOT NULL, 
	outcome VARCHAR(64), 
	source TEXT, 
	provenance VARCHAR(64) NOT NULL, 
	resolution VARCHAR(64), 
	rounds INTEGER NOT NULL, 
	iterations INTEGER NOT NULL, 
	energy_median FLOAT, 
	energy_low FLOAT, 
	energy_high FLOAT, 
	duration_median FLOAT, 
	samples TEXT NOT NULL, 
	facts TEXT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(session_id) REFERENCES sessions (id)
);
INSERT INTO "measurements" VALUES(1,1,'tests/t.py::test_a','passed','rapl','measured','ok',3,1,1.01030927835051542729e+00,0.978713441987555,1.04292512407745019409e+00,1.01030927835051542729e+00,'{"energy":[1,1.01030928,1.02061856],"duration":[0.05,0.0505154639,0.0510309278],"tsc":[100000000,101030928,102061856],"domains":{"package-0":[1,1.01030928,1.02061856],"dram":[null,null,null]}}','{"notes": ["a note"]}');
INSERT INTO "measurements" VALUES(2,1,'tests/t.py::test_b[ü]','passed','rapl','measured','ok',2,1,2.01030927835051542729e+00,1.85266310761426455933e+00,2.18136982272310753216e+00,2.01030927835051542729e+00,'{"energy":[2,2.02061856],"duration":[0.1,0.101030928],"tsc":[200000000,202061856],"domains":{"package-0":[2,2.02061856],"dram":[null,null]}}','{"net_energy": 0.5, "notes": ["a note"]}');
INSERT INTO "measurements" VALUES(3,1,'tests/t.py::test_c','skipped',NULL,'unavailable',NULL,0,1,NULL,NULL,NULL,NULL,'{"energy":[],"duration":[],"tsc":[],"domains":{}}','{}');
INSERT INTO "measurements" VALUES(4,2,'tests/t.py::test_a','passed','rapl','measured','ok',3,1,1.51546391752577314093e+00,1.46807016298133263809e+00,1.56438768611617540216e+00,1.51546391752577314093e+00,'{"energy":[1.5,1.51546392,1.53092784],"duration":[0.075,0.0757731959,0.0765463918],"tsc":[150000000,151546392,153092784],"domains":{"package-0":[1.5,1.51546392,1.53092784],"dram":[null,null,null]}}','{"notes": ["a note"]}');
INSERT INTO "measurements" VALUES(5,2,'tests/t.py::test_b[ü]','passed','rapl','measured','ok',2,1,3.01546391752577314093e+00,2.77899466142139672797e+00,3.27205473408466174234e+00,3.01546391752577314093e+00,'{"energy":[3,3.03092784],"duration":[0.15,0.151546392],"tsc":[300000000,303092784],"domains":{"package-0":[3,3.03092784],"dram":[null,null]}}','{"net_energy": 0.5, "notes": ["a note"]}');
INSERT INTO "measurements" VALUES(6,2,'tests/t.py::test_c','skipped',NULL,'unavailable',NULL,0,1,NULL,NULL,NULL,NULL,'{"energy":[],"duration":[],"tsc":[],"domains":{}}','{}');
CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value TEXT, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','1');
CREATE TABLE sessions (
	id INTEGER NOT NULL, 
	created VARCHAR(64) NOT NULL, 
	machine_id TEXT, 
	machine TEXT NOT NULL, 
	commit_id TEXT, 
	commit_dirty BOOLEAN, 
	settings TEXT NOT NULL, 
	sources TEXT NOT NULL, 
	plugin_version VARCHAR(64) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "sessions" VALUES(1,'2026-01-01T00:00:00+00:00','0a1b','{"id": "0a1b", "cpu": "Some CPU", "cores": 8, "os": "Linux", "python": "3.12.1", "virtual": false}','cccccccccccccccccccccccccccccccccccccccc',1,'{"rounds": "auto"}','[]','0.1.0');
INSERT INTO "sessions" VALUES(2,'2026-01-02T00:00:00+00:00','0a1b','{"id": "0a1b", "cpu": "Some CPU", "cores": 8, "os": "Linux", "python": "3.12.1", "virtual": false}','cccccccccccccccccccccccccccccccccccccccc',1,'{"rounds": "auto"}','[]','0.1.0');
CREATE INDEX ix_sessions_machine_id ON sessions (machine_id);
CREATE INDEX ix_measurements_session_id ON measurements (session_id);
CREATE INDEX ix_measurements_nodeid ON measurements (nodeid);
COMMIT;
