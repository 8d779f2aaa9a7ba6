//! What a replica sends of its gradients, and what it makes of what it gets.
//!
//! A bucket is its buffers end to end. Places travel as the bits of an `f32`; nothing is computed with
//! them on the way.

use rand::seq::index;

use crate::program::Packing;
use crate::rng::Stream;

/// p = g + e; fills `packet` with C(p) and leaves e = p − C(p). Without `errors`, p = g.
pub fn pack(
    packing: Packing,
    gradients: &[&[f32]],
    errors: &mut [Vec<f32>],
    packet: &mut [f32],
    stream: impl FnOnce() -> Stream,
) {
    let mut whole: Vec<f32> = gradients.concat();
    let kept = errors.iter().flatten();
    whole.iter_mut().zip(kept).for_each(|(p, e)| *p += e);
    let sent = match packing {
        Packing::Largest { keep } => largest(&whole, keep as usize, packet),
        Packing::Random { keep, .. } => {
            let places = places(whole.len(), keep as usize, stream());
            packet.iter_mut().zip(&places).for_each(|(sent, &place)| *sent = whole[place]);
            scattered(whole.len(), &places, packet)
        }
        Packing::Sign => {
            packet.copy_from_slice(&whole);
            let mut rest = &mut packet[..];
            for gradient in gradients {
                let (buffer, others) = rest.split_at_mut(gradient.len());
                to_signs(buffer);
                rest = others;
            }
            packet.to_vec()
        }
        Packing::Narrow { format, block } => {
            packet[..whole.len()].copy_from_slice(&whole);
            packet[whole.len()..].fill(0.0);
            format.round_blocks(packet, block as usize);
            packet[..whole.len()].to_vec()
        }
    };
    let mut lost = whole.iter().zip(&sent).map(|(p, sent)| p - sent);
    for e in errors.iter_mut().flatten() {
        *e = lost.next().expect("an error for each number");
    }
}

/// g = what the members' packets come to.
pub fn unpack(
    packing: Packing,
    members: usize,
    packets: &[f32],
    gradients: &mut [Vec<f32>],
    stream: impl FnOnce() -> Stream,
) {
    let elements: usize = gradients.iter().map(Vec::len).sum();
    let sum = match packing {
        Packing::Largest { keep } => {
            let mut sum = vec![0.0; elements];
            for packet in packets.chunks_exact(2 * keep as usize) {
                let (numbers, places) = packet.split_at(keep as usize);
                for (number, place) in numbers.iter().zip(places) {
                    sum[place.to_bits() as usize] += number;
                }
            }
            sum
        }
        Packing::Random { keep, .. } => {
            scattered(elements, &places(elements, keep as usize, stream()), packets)
        }
        Packing::Sign => {
            let mut sum = vec![0.0; elements];
            assert_eq!(packets.len(), members * elements, "a packet from each member");
            for packet in packets.chunks_exact(elements) {
                sum.iter_mut().zip(packet).for_each(|(sum, number)| *sum += number);
            }
            sum
        }
        Packing::Narrow { .. } => packets[..elements].to_vec(),
    };
    let mut numbers = sum.into_iter();
    for g in gradients.iter_mut().flatten() {
        *g = numbers.next().expect("a number for each gradient");
    }
}

/// The `keep` largest by magnitude, of equals those that stand first, in the order in which they stand.
fn largest(whole: &[f32], keep: usize, packet: &mut [f32]) -> Vec<f32> {
    let mut order: Vec<usize> = (0..whole.len()).collect();
    // What is not a number comes first, so that it is sent and seen.
    let before = |&a: &usize, &b: &usize| whole[b].abs().total_cmp(&whole[a].abs()).then(a.cmp(&b));
    if keep < order.len() {
        order.select_nth_unstable_by(keep, before);
        order.truncate(keep);
    }
    order.sort_unstable();
    let (numbers, places) = packet.split_at_mut(keep);
    for ((number, place), &at) in numbers.iter_mut().zip(places).zip(&order) {
        (*number, *place) = (whole[at], f32::from_bits(at as u32));
    }
    scattered(whole.len(), &order, numbers)
}

fn places(elements: usize, keep: usize, mut stream: Stream) -> Vec<usize> {
    let mut places = index::sample(&mut stream, elements, keep).into_vec();
    places.sort_unstable();
    places
}

fn scattered(elements: usize, places: &[usize], numbers: &[f32]) -> Vec<f32> {
    let mut whole = vec![0.0; elements];
    places.iter().zip(numbers).for_each(|(&place, &number)| whole[place] = number);
    whole
}

/// ‖p‖₁/d · sign(p); nought has no sign.
fn to_signs(numbers: &mut [f32]) {
    let sum: f64 = numbers.iter().map(|x| f64::from(x.abs())).sum();
    let scale = (sum / numbers.len().max(1) as f64) as f32;
    numbers.iter_mut().for_each(|x| *x = if *x == 0.0 { 0.0 } else { scale.copysign(*x) });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numeric::support::draw;
    use crate::program::Format;
    use crate::rng::Seed;

    fn round_trip(packing: Packing, packet: usize) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
        let p: Vec<f32> = draw("gradient", 10);
        let mut errors = vec![vec![0.0; 4], vec![0.0; 6]];
        let mut packet = vec![f32::NAN; packet];
        let stream = || Seed(1).stream("places");
        pack(packing, &[&p[..4], &p[4..]], &mut errors, &mut packet, stream);
        let mut gradients = vec![vec![f32::NAN; 4], vec![f32::NAN; 6]];
        unpack(packing, 1, &packet, &mut gradients, stream);
        (p, gradients.concat(), errors.concat())
    }

    /// Whatever the packing: what was sent and what was kept make up what there was.
    #[test]
    fn nothing_is_lost_between_packet_and_error() {
        let packings = [
            (Packing::Largest { keep: 3 }, 6),
            (Packing::Random { keep: 3, bucket: 0 }, 3),
            (Packing::Sign, 10),
            (Packing::Narrow { format: Format::I8, block: 4 }, 12),
            (Packing::Narrow { format: Format::E5M2, block: 4 }, 12),
        ];
        for (packing, packet) in packings {
            let (p, sent, kept) = round_trip(packing, packet);
            for ((p, sent), kept) in p.iter().zip(&sent).zip(&kept) {
                assert!((sent + kept - p).abs() < 1e-6, "{packing:?}: {sent} and {kept} of {p}");
            }
        }
    }

    #[test]
    fn the_largest_are_sent_exactly() {
        let (p, sent, _) = round_trip(Packing::Largest { keep: 3 }, 6);
        let mut sizes: Vec<f32> = p.iter().map(|x| x.abs()).collect();
        sizes.sort_by(f32::total_cmp);
        for (p, sent) in p.iter().zip(&sent) {
            assert_eq!(*sent, if p.abs() >= sizes[7] { *p } else { 0.0 });
        }
    }

    #[test]
    fn signs_have_the_mean_magnitude_of_their_parameter() {
        let (p, sent, _) = round_trip(Packing::Sign, 10);
        let mean = p[..4].iter().map(|x| x.abs()).sum::<f32>() / 4.0;
        for (p, sent) in p[..4].iter().zip(&sent) {
            assert!((sent.abs() - mean).abs() < 1e-6 && sent.signum() == p.signum());
        }
    }
}
