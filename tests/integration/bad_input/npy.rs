//! Damaged, hostile and foreign `.npy` files.

use super::Place;

fn file(version: [u8; 2], dict: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = [b"\x93NUMPY", &version[..]].concat();
    let length = dict.len();
    if version[0] == 1 {
        bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
    } else {
        bytes.extend(u32::try_from(length).unwrap().to_le_bytes());
    }
    [&bytes, dict.as_bytes(), data].concat()
}

fn dict(descr: &str, shape: &str) -> String {
    format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n")
}

fn of(descr: &str, shape: &str, data: usize) -> Vec<u8> {
    file([1, 0], &dict(descr, shape), &vec![0; data])
}

/// The files, and a word that the message about each has (besides the file's name).
fn bad() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let good = of("'<f4'", "(4, 3)", 48);
    let mut unterminated = file([1, 0], "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3)", &[0; 48]);
    unterminated.push(b'\n');
    let mut beyond = good.clone();
    beyond[8..10].copy_from_slice(&u16::MAX.to_le_bytes());
    let mut endless = file([2, 0], &dict("'<f4'", "(4, 3)"), &[0; 48]);
    endless[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut latin = good.clone();
    latin[12] = 0xff;
    vec![
        ("empty", vec![], "npy"),
        ("text", b"1,2,3\n4,5,6\n".to_vec(), "npy"),
        ("noise", (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect(), "npy"),
        ("magic", good[..6].to_vec(), "header"),
        ("cut_preamble", good[..9].to_vec(), "header"),
        ("cut_header", good[..40].to_vec(), "header"),
        (
            "version_nine",
            {
                let mut b = good.clone();
                b[6] = 9;
                b
            },
            "version 9",
        ),
        ("header_beyond_the_file", beyond, "header"),
        ("header_of_4_gib", endless, "header"),
        ("unterminated", unterminated, "header"),
        ("not_text", latin, "header"),
        ("no_shape", file([1, 0], "{'descr': '<f4', 'fortran_order': False}\n", &[0; 48]), "shape"),
        ("no_descr", file([1, 0], "{'fortran_order': False, 'shape': (4, 3)}\n", &[0; 48]), "descr"),
        ("no_order", file([1, 0], "{'descr': '<f4', 'shape': (4, 3)}\n", &[0; 48]), "fortran_order"),
        ("a_call", file([1, 0], "__import__('os').abort()\n", &[0; 48]), "header"),
        ("negative", of("'<f4'", "(-4, 3)", 48), "negative"),
        ("overflow", of("'<f4'", "(4611686018427387904, 1099511627776)", 48), "shape"),
        ("overflow_64", of("'<f4'", "(99999999999999999999999, 3)", 48), "shape"),
        ("overflow_cell", of("'<f4'", "(0, 4294967296, 4294967296)", 48), "shape"),
        ("object", of("'|O'", "(4, 3)", 48), "object"),
        ("structured", of("[('a', '<f4'), ('b', '|O')]", "(4,)", 48), "object"),
        ("text_dtype", of("'<U0'", "(4,)", 80), "<U0"),
        ("long_double", of("'<f16'", "(4, 3)", 192), "<f16"),
        ("attoseconds", of("'<M8[as]'", "(4, 3)", 96), "M8[as]"),
        ("one_byte_short", good[..good.len() - 1].to_vec(), "bytes"),
        ("no_data", good[..good.len() - 48].to_vec(), "bytes"),
        ("claims_a_tebibyte", of("'<f4'", "(91625968981, 3)", 48), "bytes"),
    ]
}

#[test]
fn no_bad_file_is_read() {
    let place = Place::new();
    let before = super::contents(&place.store());
    let sql = hyperslab_tests::Sql::on(hyperslab::Store::open(place.store()).unwrap(), None);
    for (name, bytes, word) in bad() {
        let path = place.path(&format!("{name}.npy"));
        std::fs::write(&path, bytes).unwrap();
        let from = format!("'{}'", path.display());
        for statement in [
            format!("SELECT * FROM {from}"),
            format!("SELECT count(*) FROM {from}"),
            format!("CREATE TABLE x AS SELECT * FROM {from}"),
            format!("INSERT INTO v SELECT * FROM {from}"),
            format!("SELECT * FROM append('v', {from})"),
            format!("SELECT * FROM slice({from}, '0:2')"),
            format!("SELECT * FROM top_k({from}, [1, 2, 3], 2)"),
            format!("COPY (SELECT * FROM {from}) TO '{}'", place.path("out.npy").display()),
        ] {
            let message = sql.error(&statement);
            let known =
                message.contains(&format!("{name}.npy")) && message.to_lowercase().contains(&word.to_lowercase());
            assert!(known, "{statement}: neither {name}.npy nor {word:?} in: {message}");
            assert!(!place.path("out.npy").exists(), "{statement}: a file is left");
        }
    }
    assert!(before == super::contents(&place.store()), "something changed");
    // As a program: the exit status, and the message on standard error only.
    for name in ["one_byte_short", "object", "overflow", "text"] {
        let file = format!("{name}.npy");
        place.fails(&format!("SELECT * FROM append('v', '{file}')"), &[&file]);
    }
}

#[test]
fn one_bad_file_of_several_spoils_the_whole_statement() {
    let place = Place::new();
    std::fs::create_dir(place.path("many")).unwrap();
    let good = of("'<f4'", "(4, 3)", 48);
    std::fs::write(place.path("many/a.npy"), &good).unwrap();
    std::fs::write(place.path("many/b.npy"), &good[..good.len() - 8]).unwrap();
    place.fails("SELECT * FROM append('v', 'many/*.npy')", &["b.npy"]);
    place.fails("CREATE TABLE x AS SELECT * FROM 'many/*.npy'", &["b.npy"]);
    std::fs::write(place.path("many/b.npy"), of("'<f4'", "(4, 2)", 32)).unwrap();
    place.fails("SELECT * FROM append('v', 'many/*.npy')", &["b.npy"]);
    std::fs::write(place.path("many/b.npy"), of("'<f8'", "(4, 3)", 96)).unwrap();
    place.fails("CREATE TABLE x AS SELECT * FROM 'many/*.npy'", &["b.npy"]);
    std::fs::write(place.path("many/b.npy"), &good).unwrap();
    place.ok("SELECT * FROM append('v', 'many/*.npy')");
    assert_eq!(place.ok("SELECT count(*) AS n FROM v"), "n\n12\n");
    place.fails("SELECT * FROM 'none/*.npy'", &["none/*.npy"]);
    place.fails("SELECT * FROM 'none.npy'", &["none.npy"]);
}
