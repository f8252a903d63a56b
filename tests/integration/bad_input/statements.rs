//! Statements that ask for what cannot be.

use super::Place;

#[test]
fn values_that_do_not_fit_their_field() {
    let place = Place::new();
    std::fs::write(place.path("text.csv"), "value\n1\n2\nthree\n").unwrap();
    std::fs::write(place.path("words.csv"), "value\none\ntwo\n").unwrap();
    std::fs::write(place.path("gap.csv"), "value,b\n1,1\n,2\n").unwrap();
    place.fails("INSERT INTO n SELECT value FROM 'text.csv'", &["value", "int64"]);
    place.fails("INSERT INTO n SELECT value FROM 'words.csv'", &["value", "int64"]);
    place.fails("SELECT * FROM append('n', (SELECT * FROM 'words.csv'))", &["value", "int64"]);
    place.fails("INSERT INTO n SELECT 1.5::DOUBLE", &["value", "1.5"]);
    place.fails("INSERT INTO n VALUES (9223372036854775808)", &["value"]);
    place.fails("INSERT INTO image SELECT [1, 2, 3, 256]", &["value", "256"]);
    place.fails("INSERT INTO image SELECT [1, 2, 3, -1]", &["value", "-1"]);
    // NULL, in the row and in the cell; a row that is not the first.
    place.fails("INSERT INTO n VALUES (5), (NULL)", &["NULL", "value"]);
    place.fails("INSERT INTO n SELECT value FROM 'gap.csv'", &["NULL", "value"]);
    place.fails("INSERT INTO v VALUES ([1, 2, 3]), (NULL)", &["NULL", "value"]);
    place.fails("INSERT INTO v VALUES ([1, NULL, 3])", &["NULL", "value"]);
    place.fails("INSERT INTO m VALUES (NULL, [1, 2])", &["NULL", "id"]);
    place.fails("INSERT INTO m (id) VALUES (3)", &["e"]);
    place.fails("CREATE TABLE x AS SELECT NULL AS value", &["value"]);
    place.fails("SELECT * FROM append('n', (SELECT NULL::BIGINT AS value))", &["NULL", "value"]);
}

#[test]
fn shapes_that_differ() {
    let place = Place::new();
    place.ok("COPY (SELECT [1, 2]::FLOAT[2] AS value) TO 'two.npy'");
    place.ok("COPY (SELECT value FROM image) TO 'image.npy'");
    place.ok("COPY (SELECT 1::BIGINT AS value) TO 'flat.npy'");
    for file in ["two.npy", "image.npy", "flat.npy"] {
        place.fails(&format!("SELECT * FROM append('v', '{file}')"), &["v", "3"]);
        place.fails(&format!("INSERT INTO v SELECT * FROM '{file}'"), &["value"]);
    }
    place.fails("INSERT INTO v VALUES ([1, 2])", &["value", "3"]);
    place.fails("INSERT INTO v VALUES ([1, 2, 3]), ([1, 2, 3, 4])", &["value"]);
    place.fails("SELECT * FROM append('m', 'n')", &["m"]);
    place.fails("INSERT INTO m SELECT 1", &["m", "id, e"]);
    place.fails("INSERT INTO n SELECT 1, 2", &["n", "value"]);
    place.fails("INSERT INTO n (nothing) SELECT 1", &["nothing"]);
}

#[test]
fn searches() {
    let place = Place::new();
    for (arguments, named) in [
        ("'v', [1, 2]", &["3", "2"][..]),
        ("'v', [1, 2, 3, 4]", &["3", "4"]),
        ("'v', []", &["vector"]),
        ("'v', 'abc'", &["abc"]),
        ("'v', ['a', 'b', 'c']", &["vector"]),
        ("'v', [true, false, true]", &["vector"]),
        ("'v', [1, NULL, 3]", &["NULL"]),
        ("'v', NULL", &["NULL"]),
        ("'v', 5", &["vector"]),
        ("'v', (SELECT e FROM m WHERE row = 0)", &["3", "2"]),
        ("'v', (SELECT value FROM v)", &["one row"]),
        ("'v', (SELECT value FROM v WHERE false)", &["no row"]),
        ("'v', 'm', field => 'e'", &["e"]),
        ("'m', 'v', field => 'e'", &["3", "2"]),
        ("'v', [1, 2, 3], 0", &["k", "0"]),
        ("'v', [1, 2, 3], -1", &["k", "-1"]),
        ("'v', [1, 2, 3], k => -5", &["k", "-5"]),
        ("'v', [1, 2, 3], k => 'many'", &["k"]),
        ("'v', [1, 2, 3], k => 2.5", &["k"]),
        ("'v', [1, 2, 3], k => NULL", &["k"]),
        ("'v', [1, 2, 3], metric => 'manhattan_ish'", &["manhattan_ish", "cosine"]),
        ("'v', [1, 2, 3], metric => 3", &["metric"]),
        ("'nowhere', [1, 2, 3]", &["nowhere"]),
        ("'nofile.npy', [1, 2, 3]", &["nofile.npy"]),
        ("'v', [1, 2, 3], field => 'nothing'", &["nothing", "value"]),
        ("'m', [1, 2], field => 'id'", &["id"]),
        ("'n', [1, 2]", &["n"]),
        ("'v', [1, 2, 3], 2, ef => 3", &["ef", "top_k("]),
        ("'v', [1, 2, 3], 2, k => 3", &["k", "top_k("]),
        ("'v', [1, 2, 3], k => 2, k => 3", &["k", "top_k("]),
        ("'v'", &["query", "top_k("]),
        ("", &["top_k("]),
        ("'v', [1, 2, 3], 2, 'l2', 'value', 1, 2, 3, 4, 5", &["top_k("]),
        ("'v', [1, 2, 3], filter => 'nothing = 3'", &["nothing"]),
        ("'v', [1, 2, 3], filter => 'row >'", &["syntax"]),
    ] {
        place.fails(&format!("SELECT * FROM top_k({arguments})"), named);
    }
    place.fails("SELECT row FROM v ORDER BY l2_distance(value, [1, 2]) LIMIT 2", &["3", "2"]);
    place.fails("SELECT l2_distance(value, [1, 2]) FROM v", &["3", "2"]);
    place.fails("SELECT l2_distance(value, 'x') FROM v", &["l2_distance"]);
    place.fails("SELECT l2_distance(value) FROM v", &["l2_distance"]);
    place.fails("SELECT top_q(1)", &["top_q"]);
    place.fails("SELECT * FROM top_q('v', [1, 2, 3])", &["top_q"]);
}

#[test]
fn slices_and_rows() {
    let place = Place::new();
    for (arguments, named) in [
        ("'v', '1:2:3:4'", &["1:2:3:4"][..]),
        ("'v', 'a:b'", &["a:b"]),
        ("'v', '1;2'", &["1;2"]),
        ("'v', '::0'", &["0", "step"]),
        ("'v', ''", &["slice"]),
        ("'v', '..., ...'", &["..."]),
        ("'v', '99999999999999999999:'", &["99999999999999999999"]),
        ("'v', ':, :, :'", &["axes"]),
        ("'v', '0, 0, 0'", &["axes"]),
        ("'n', ':, 0'", &["axes"]),
        ("'v', '4'", &["4", "axis 0"]),
        ("'v', ':, 3'", &["3", "axis 1"]),
        ("'v', ':, -4'", &["-4", "axis 1"]),
        ("'v', 5", &["slice"]),
        ("'v'", &["slice("]),
        ("'nowhere', '1:2'", &["nowhere"]),
        ("'m', ':', field => 'nothing'", &["nothing"]),
        ("'v', ':', feild => 'value'", &["feild"]),
    ] {
        place.fails(&format!("SELECT * FROM slice({arguments})"), named);
    }
    place.fails("SELECT * FROM take('v', [0, 4])", &["4"]);
    place.fails("SELECT * FROM take('v', [-5])", &["-5"]);
    place.fails("SELECT * FROM take('v', ['a'])", &["take"]);
    place.fails("SELECT * FROM take('nowhere', [0])", &["nowhere"]);
    place.fails("SELECT * FROM array_info('nowhere')", &["nowhere"]);
    place.fails("SELECT * FROM arrays(1)", &["arrays("]);
}

#[test]
fn names_and_clauses() {
    let place = Place::new();
    for (sql, named) in [
        ("SELECT * FROM nowhere", &["nowhere"][..]),
        ("SELECT nothing FROM v", &["nothing"]),
        ("INSERT INTO nowhere SELECT 1", &["nowhere"]),
        ("DROP TABLE nowhere", &["nowhere"]),
        ("ALTER TABLE nowhere RENAME TO somewhere", &["nowhere"]),
        ("ALTER TABLE v RENAME TO n", &["n", "exists"]),
        ("CREATE TABLE v AS SELECT 1 AS x", &["v", "exists"]),
        ("CREATE TABLE v (x INT)", &["v", "exists"]),
        ("CREATE TABLE x (a VARCHAR(3))", &["a"]),
        ("CREATE TABLE x (a INT, a INT)", &["a"]),
        ("CREATE TABLE x (a INT) WITH (no_such_option = '3')", &["no_such_option"]),
        ("CREATE TABLE x (a INT) WITH (shard_bytes = 'large')", &["shard_bytes"]),
        ("CREATE TABLE nowhere.x (a INT)", &["nowhere"]),
        ("CREATE TABLE x AS SELECT 1 AS a, 2 AS a", &["a"]),
        ("SELECT * FROM append('nowhere', 'v')", &["nowhere"]),
        ("SELECT * FROM append('v', 'nowhere')", &["nowhere"]),
        ("SELECT * FROM append('v')", &["append("]),
        ("SELECT * FROM append('v', 'v', extra => 1)", &["extra"]),
        ("COPY nowhere TO 'x.npy'", &["nowhere"]),
        ("COPY (SELECT 'text' AS t) TO 'x.safetensors'", &["utf8", "cast it", "array: t"]),
        ("COPY v TO 'x.unknown'", &["unknown"]),
        ("COPY (SELECT NULL::TEXT AS value) TO 'x.npy'", &["value", "row 0", "NULL"]),
        ("COPY (SELECT NULL::INT AS value) TO 'x.npy'", &["value", "NULL"]),
        // What parses, and nothing acts on.
        ("UPDATE n SET row = 3", &["row"]),
        ("DELETE FROM v LIMIT 1", &["LIMIT"]),
        ("COMMIT", &["COMMIT", "BEGIN"]),
        ("INSERT OVERWRITE n SELECT 1", &["OVERWRITE"]),
        ("REPLACE INTO n SELECT 1", &["REPLACE"]),
        ("INSERT INTO n SELECT 1 RETURNING value", &["RETURNING"]),
        ("INSERT INTO n SELECT 1 ON CONFLICT DO NOTHING", &["CONFLICT"]),
        ("SELECT * FROM v VERSION AS OF 99", &["99"]),
        ("SELECT * FROM v FOR SYSTEM_TIME AS OF '2001-01-01'", &["younger"]),
        ("SELECT * FROM v TABLESAMPLE (10 PERCENT)", &["TABLESAMPLE"]),
        ("CREATE INDEX i ON v (value) WITH (m = 16)", &["INDEX"]),
        ("INSERT INTO n (row, value) VALUES (0, 5)", &["row"]),
    ] {
        place.fails(sql, named);
    }
}

#[test]
fn two_sessions_that_create_the_same_array() {
    let place = Place::new();
    let children: Vec<_> = (0..4)
        .map(|i| {
            let mut command = place.command(&format!("CREATE TABLE same AS SELECT {i}::BIGINT AS x"));
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    let outputs: Vec<_> = children.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    let won: Vec<usize> = (0..4).filter(|&i| outputs[i].status.success()).collect();
    assert_eq!(won.len(), 1, "{outputs:?}");
    for (i, output) in outputs.iter().enumerate().filter(|(i, _)| *i != won[0]) {
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && err.contains("same"), "{i}: {err}");
    }
    assert_eq!(place.ok("SELECT x FROM same"), format!("x\n{}\n", won[0]));

    // The same with both transactions open at once: the first to commit wins.
    use hyperslab::{ArrayOptions, DType, FieldSpec, Store};
    let (first, second) = (Store::open(place.store()).unwrap(), Store::open(place.store()).unwrap());
    let field = || vec![FieldSpec::new("value", DType::Int64, vec![]).unwrap()];
    let (mut a, mut b) = (first.begin().unwrap(), second.begin().unwrap());
    a.create("both", field(), ArrayOptions::default()).unwrap();
    b.create("both", field(), ArrayOptions::default()).unwrap();
    b.append_ndarray("both", &ndarray::arr1(&[1_i64])).unwrap();
    let version = a.commit().unwrap();
    let error = b.commit().unwrap_err();
    assert!(error.to_string().contains("both"), "{error}");
    let snapshot = first.snapshot().unwrap();
    assert_eq!((snapshot.version(), snapshot.array("both").unwrap().rows()), (version, 0));
}
