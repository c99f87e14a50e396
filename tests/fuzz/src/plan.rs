//! What is decided of a machine.

use crate::bytes::Bytes;
use crate::machine::at_work;
use crate::machine::invariants::{self, Boot};
use crate::machines;
use arbitrary::Unstructured;
use burnonce::config::Config;
use burnonce::observation::{Lacks, Observation};

/// A node that is to be converted: where the new partition goes, the order of the steps, and that it comes to the same card wherever the
/// power is cut.
pub fn conversion(data: &[u8]) {
    let mut from = Unstructured::new(data);
    let Ok(Some((seen, config))) = machines::unconverted(&mut from) else { return };
    let (Ok(lacks), Ok(second)) = (from.int_in_range(0..=3), from.arbitrary::<usize>()) else { return };
    let lacks = [None, Some(Lacks::Overlayroot), Some(Lacks::Guard), Some(Lacks::Packages)][lacks];
    invariants::the_new_partition_is_where_it_belongs(&seen, &config);
    invariants::in_the_sector_of_an_mbr_only_the_slots_bytes_change(&seen, &config);
    invariants::the_steps_are_in_an_order_that_makes_a_power_cut_harmless(seen.clone(), &config, lacks);
    invariants::a_converted_machine_has_an_empty_plan(&seen, &config);
    invariants::a_published_upper_is_taken(&seen, &config);
    invariants::a_conversion_that_is_cut_off_ends_as_one_that_is_not(&seen, &config, |n| second % n);
    invariants::an_attempt_that_stops_is_finished_without_a_restart(&seen, &config);
    invariants::an_upper_that_is_gone_is_made_again(&seen, &config, |n| second % n);
    let named = (second % 3 > 0).then_some(u32::try_from(second % 13).unwrap_or(0));
    invariants::a_repartition_takes_nothing_but_what_it_names(&seen, &config, named, second % 2 == 0);
    let furthest = second % 13;
    let mut bytes = Bytes(from.take_rest());
    let boots: Vec<Boot> = (0..24).map(|_| boot(bytes.byte(), bytes.byte())).collect();
    invariants::there_is_no_restart_loop(&seen, &config, furthest, &boots);
}

fn boot(stop: u8, flags: u8) -> Boot {
    let bit = |n: u8| flags & 1 << n != 0;
    Boot { stop: usize::from(stop), cut: !bit(0), sound: bit(1), overlayroot: !bit(2), guard: !bit(3) }
}

/// A node at work on its upper: it grows over nothing.
pub fn growth(data: &[u8]) {
    let mut from = Unstructured::new(data);
    let Ok(Some((seen, config))) = machines::unconverted(&mut from) else { return };
    let Ok((upper, first, shorter)) = from.arbitrary::<(u8, u8, bool)>() else { return };
    let Some(seen) = at_work(seen, usize::from(upper), shorter) else { return };
    invariants::an_upper_grows_over_nothing(&seen, &config, |n| usize::from(first) % n);
}

/// Anything at all.
pub fn observation(data: &[u8]) {
    let mut from = Unstructured::new(data);
    let Ok((seen, config)) = machines::anything(&mut from) else { return };
    let number = from.arbitrary::<u8>().map_or(None, |number| (number < 200).then_some(u32::from(number % 6)));
    invariants::any_observation_is_decided(&seen, &config, number);
}

/// The text of a bug report: `burnonce plan --from FILE`.
pub fn saved(data: &[u8]) {
    let Ok(seen) = serde_json::from_slice::<Observation>(data) else { return };
    [None, Some(3)].into_iter().for_each(|n| invariants::any_observation_is_decided(&seen, &Config::default(), n));
}
