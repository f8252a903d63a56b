#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

/// The positions that Python's `range(length)[start:stop:step]` gives, found by walking instead of by arithmetic.
fn naive_slice(start: Option<i64>, stop: Option<i64>, step: i64, length: usize) -> Vec<usize> {
    let n = length as i64;
    let from_end = |v: i64| if v < 0 { v + n } else { v };
    let mut at = match start.map(from_end) {
        None => {
            if step > 0 {
                0
            } else {
                n - 1
            }
        }
        Some(v) if step > 0 => v.max(0),
        Some(v) => v.min(n - 1),
    };
    let stop = stop.map(from_end);
    let mut found = vec![];
    while (0..n).contains(&at) && stop.is_none_or(|s| if step > 0 { at < s } else { at > s }) {
        found.push(at as usize);
        at += step;
    }
    found
}

#[derive(Debug, Clone)]
enum Part {
    Integer(i64),
    Slice(Option<i64>, Option<i64>, Option<i64>),
}

impl Part {
    fn text(&self) -> String {
        let show = |v: &Option<i64>| v.map_or(String::new(), |v| v.to_string());
        match self {
            Self::Integer(i) => i.to_string(),
            Self::Slice(start, stop, None) => format!("{}:{}", show(start), show(stop)),
            Self::Slice(start, stop, step) => format!("{} :{}: {}", show(start), show(stop), show(step)),
        }
    }

    fn positions(&self, length: usize) -> Vec<usize> {
        match *self {
            Self::Integer(i) => vec![if i < 0 { (i + length as i64) as usize } else { i as usize }],
            Self::Slice(start, stop, step) => naive_slice(start, stop, step.unwrap_or(1), length),
        }
    }
}

fn part(length: usize) -> BoxedStrategy<Part> {
    let n = length as i64;
    let bound = prop_oneof![1 => Just(None), 4 => (-n - 3..=n + 3).prop_map(Some)];
    let step = prop_oneof![Just(None), (-4i64..=4).prop_filter("not 0", |s| *s != 0).prop_map(Some)];
    let slice = (bound.clone(), bound, step).prop_map(|(a, b, c)| Part::Slice(a, b, c));
    if n == 0 { slice.boxed() } else { prop_oneof![1 => (-n..n).prop_map(Part::Integer), 4 => slice].boxed() }
}

/// A shape, the parts that are named, and where `...` stands among them, if anywhere.
fn case() -> impl Strategy<Value = (Vec<usize>, Vec<Part>, Option<usize>)> {
    let shape = proptest::collection::vec(prop_oneof![1 => Just(0usize), 9 => 1usize..7], 1..5);
    let named = shape.prop_flat_map(|shape| (Just(shape.clone()), 1..=shape.len(), 0..=2 * shape.len()));
    named.prop_flat_map(|(shape, named, ellipsis)| {
        let ellipsis = (ellipsis <= named).then_some(ellipsis);
        let missing = shape.len() - named;
        let parts: Vec<_> =
            (0..named).map(|i| part(shape[if ellipsis.is_some_and(|e| i >= e) { i + missing } else { i }])).collect();
        (Just(shape), parts, Just(ellipsis))
    })
}

proptest! {
    #[test]
    fn selects_what_python_selects((shape, parts, ellipsis) in case(), item in prop_oneof![Just(1usize), Just(2), Just(3), Just(4), Just(8), Just(16)], comma in any::<bool>()) {
        let mut texts: Vec<String> = parts.iter().map(Part::text).collect();
        let mut full: Vec<Part> = parts.clone();
        let whole = vec![Part::Slice(None, None, None); shape.len() - parts.len()];
        let at = ellipsis.unwrap_or(parts.len());
        full.splice(at..at, whole);
        if let Some(at) = ellipsis {
            texts.insert(at, "...".to_owned());
        }
        let text = texts.join(" ,") + if comma { ", " } else { "" };
        let selection = Selection::parse(&text).unwrap().normalize(&shape).unwrap();

        let expected: Vec<Vec<usize>> = full.iter().zip(&shape).map(|(p, &n)| p.positions(n)).collect();
        let found: Vec<Vec<usize>> = selection.axes.iter().map(|a| a.positions().collect()).collect();
        prop_assert_eq!(&found, &expected, "{}", text);
        for axis in &selection.axes {
            let found: Vec<usize> = (0..=axis.len).filter_map(|i| axis.position(i)).collect();
            prop_assert_eq!(found, axis.positions().collect::<Vec<_>>());
        }
        let kept = full.iter().zip(&expected).filter(|(p, _)| matches!(p, Part::Slice(..)));
        prop_assert_eq!(selection.shape(), kept.map(|(_, e)| e.len()).collect::<Vec<_>>());

        // The bytes, by walking every element of the shape in the order of the result.
        let elements: usize = shape.iter().product();
        let from: Vec<u8> = (0..elements * item).map(|i| (i * 31 % 251) as u8).collect();
        let mut offsets = vec![0usize];
        for (positions, &n) in expected.iter().zip(&shape) {
            offsets = offsets.iter().flat_map(|o| positions.iter().map(move |p| o * n + p)).collect();
        }
        let bytes: Vec<u8> = offsets.iter().flat_map(|o| from[o * item..][..item].to_vec()).collect();
        let mut to = b"before".to_vec();
        selection.copy_cell(&shape, item, &from, &mut to);
        prop_assert_eq!(&to[..6], b"before");
        prop_assert_eq!(&to[6..], &bytes[..], "{}", text);
        prop_assert_eq!(selection.elements(), offsets.len());
        // Of nothing, every order is the order.
        prop_assert_eq!(elements == 0 || selection.is_whole(&shape), elements == 0 || (offsets == (0..elements).collect::<Vec<_>>() && expected.iter().zip(&shape).all(|(e, &n)| e.len() == n)), "{}", text);
    }

    #[test]
    fn any_text_gives_a_result(text in "[-+0-9:., é]{0,20}|.{0,20}", shape in proptest::collection::vec(0usize..5, 0..4)) {
        if let Ok(selection) = Selection::parse(&text).and_then(|s| s.normalize(&shape)) {
            prop_assert_eq!(selection.axes.len(), shape.len());
            for (axis, &n) in selection.axes.iter().zip(&shape) {
                prop_assert!(axis.positions().all(|p| p < n));
            }
        }
    }
}

fn fails(text: &str, shape: &[usize], says: &str) {
    let error = Selection::parse(text).and_then(|s| s.normalize(shape)).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with(&format!("slice {text:?}, ")), "{error}");
    assert!(error.to_string().contains(says), "{error} does not say {says:?}");
}

#[test]
fn errors_name_the_text_and_the_position() {
    fails("", &[3], "character 1: an integer, 'start:stop:step' or '...' is expected, not the end");
    fails(",", &[3], "character 1");
    fails("1,,2", &[3, 3], "character 3");
    fails("1:2 x", &[3], "character 5: ',' or the end is expected, not 'x'");
    fails("1 2", &[3], "character 3");
    fails("é", &[3], "not 'é'");
    fails("0, é", &[3], "character 4");
    fails("..", &[3], "character 1");
    fails("1:-", &[3], "character 4: a number is expected, not the end");
    fails("1:2:3:4", &[9], "character 6: ',' or the end is expected, not ':'");
    fails("1.5", &[9], "character 2");
    fails("[1]", &[9], "not '['");
    fails("0, ::0", &[3, 3], "character 6: the step is 0");
    fails("..., 0, ...", &[3, 3], "character 9: '...' may stand only once");
    fails("0, 1, 2", &[3, 3], "character 7: 3 axes named, and the array has 2 axes (shape [3, 3])");
    fails("..., 0, 1", &[3], "character 9: 2 axes named, and the array has 1 axis");
    fails(":", &[], "1 axis named, and the array has 0 axes");
    fails(":, 3", &[9, 3], "character 4: 3 is out of range for axis 1, whose length is 3");
    fails("..., -4", &[9, 9, 3], "-4 is out of range for axis 2, whose length is 3");
    fails("0", &[0], "axis 0, whose length is 0");
    fails("9223372036854775808:", &[3], "character 1: 9223372036854775808 is too large");
    fails(":-9223372036854775809", &[3], "is too large");
}

#[test]
fn extreme_numbers_clamp() {
    let positions = |text: &str, n: usize| {
        let selection = Selection::parse(text).unwrap().normalize(&[n]).unwrap();
        selection.axes[0].positions().collect::<Vec<_>>()
    };
    assert_eq!(positions("-9223372036854775808:9223372036854775807:9223372036854775807", 3), [0]);
    assert_eq!(positions("::-9223372036854775808", 3), [2]);
    assert_eq!(positions("5:", 3), [0usize; 0]);
    assert_eq!(positions("+1 : - 1", 3), [1]);
    let axis = Selection::parse("1:").unwrap().normalize(&[usize::MAX]).unwrap().axes[0];
    assert_eq!((axis.start, axis.len), (1, usize::MAX - 1));
}

#[test]
fn integers_drop_the_axis_and_the_rest_is_whole() {
    let selection = Selection::parse("2, ..., 0").unwrap().normalize(&[5, 4, 3]).unwrap();
    assert_eq!(selection.shape(), [4]);
    let (rows, cell) = selection.split_rows().unwrap();
    assert_eq!((rows.start, rows.len, rows.dropped), (2, 1, true));
    assert!(!cell.is_whole(&[4, 3]));
    let (_, cell) = Selection::parse("2").unwrap().normalize(&[5, 4, 3]).unwrap().split_rows().unwrap();
    assert!(cell.is_whole(&[4, 3]));
    assert_eq!(Selection::parse("1:2, 0").unwrap().to_string(), "1:2, 0");
    // `...` may stand for no axis.
    assert_eq!(Selection::parse("1, ..., 2").unwrap().normalize(&[5, 4]).unwrap().shape(), [0usize; 0]);
}
