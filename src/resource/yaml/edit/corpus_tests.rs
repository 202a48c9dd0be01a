//! Files as people write them, each with edits and what they make of it.
#[test]
fn dbg() {
    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (
        proptest::collection::vec(crate::resource::yaml::laws_tests::document(), 1..4),
        crate::resource::yaml::laws_tests::document(),
        proptest::prelude::any::<u64>(),
    );
    let mut seen: std::collections::BTreeMap<String, (usize, String)> = Default::default();
    for _ in 0..8000 {
        let Ok(tree) = strategy.new_tree(&mut runner) else {
            continue;
        };
        let (documents, other, seed) = tree.current();
        let r = std::panic::catch_unwind(|| super::minimal_tests::one(documents, &other, seed))
            .unwrap_or_else(|_| Err("panic".into()));
        if let Err(law) = r {
            let key: String = law
                .lines()
                .next()
                .unwrap()
                .chars()
                .filter(|c| !c.is_numeric())
                .take(14)
                .collect();
            let e = seen.entry(key).or_insert((0, law.clone()));
            e.0 += 1;
            if law.len() < e.1.len() {
                e.1 = law;
            }
        }
    }
    for (_, (n, law)) in &seen {
        eprintln!("########## {n} times\n{law}");
    }
    panic!();
}
