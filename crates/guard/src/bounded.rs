//! A map that never holds more than it was told to: it forgets what was not asked for lately.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Two generations: when the young one is full, it becomes the old one, and the old one is forgotten. What is asked for
/// moves to the young one. At most `capacity` entries are held, and every operation takes constant time.
#[derive(Debug)]
pub struct BoundedMap<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash, V> BoundedMap<K, V> {
    /// An empty map that will hold at most `capacity` entries (at least 2).
    pub fn new(capacity: usize) -> Self {
        Self { half: (capacity / 2).max(1), young: HashMap::new(), old: HashMap::new() }
    }

    /// What stands under `key`; it is remembered a while longer for having been asked for.
    pub fn get<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        // An empty one would be hashed for all the same.
        if !self.old.is_empty()
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.insert(key, value);
        }
        self.young.get(key)
    }

    /// Remembers `value`, in place of what stood there.
    pub fn insert(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Forgets `key`.
    pub fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }

    /// How many entries are held.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dos_02_it_never_grows_past_its_capacity_and_keeps_what_is_used() {
        let mut map = BoundedMap::new(8);
        map.insert("kept".to_owned(), 0);
        for number in 1..1000 {
            map.insert(format!("n{number}"), number);
            assert!(map.len() <= 8);
            assert_eq!(map.get("kept"), Some(&0), "asked for each time");
        }
        assert_eq!(map.get("n1"), None);
        map.remove("kept");
        assert_eq!(map.get("kept"), None);
    }
}
