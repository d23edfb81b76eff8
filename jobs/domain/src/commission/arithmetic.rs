//! Exact division: rounding half to even, and the largest remainder.

/// `n / d`, rounded to the nearest whole number, halves to the even one. Negative amounts mirror
/// positive ones. `d` is positive.
pub(super) fn half_even(n: i128, d: i128) -> i128 {
    let (whole, rest) = (n.div_euclid(d), n.rem_euclid(d));
    // `d - rest` cannot overflow where `2 * rest` might.
    match rest.cmp(&(d - rest)) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + (whole & 1),
    }
}

/// Shares of an amount by weight that sum to it exactly: each gets the whole part of its share, the
/// units that are left go to the largest remainders, of equal ones to the first. A negative amount
/// is shared as the positive one.
pub(super) fn largest_remainder(amount: i64, weights: &[i64]) -> Vec<i64> {
    let whole: i128 = weights.iter().map(|w| i128::from(*w)).sum();
    if whole <= 0 {
        return vec![0; weights.len()];
    }
    let size = i128::from(amount).abs();
    let parts = weights.iter().map(|w| size * i128::from(*w));
    let mut shares: Vec<(i128, i128)> = parts.map(|p| (p / whole, p % whole)).collect();
    let given: i128 = shares.iter().map(|(share, _)| share).sum();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(shares[*i].1));
    let left = usize::try_from(size - given).unwrap_or_default();
    for i in order.into_iter().take(left) {
        shares[i].0 += 1;
    }
    let sign = if amount < 0 { -1 } else { 1 };
    // Shares are no larger than the amount.
    shares.into_iter().map(|(share, _)| i64::try_from(share * sign).unwrap_or(amount)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_go_to_the_even_one_on_both_sides_of_zero() {
        let rounded: Vec<_> = [-35, -25, -15, -5, 5, 15, 25, 35].map(|n| half_even(n, 10)).into();
        assert_eq!(rounded, [-4, -2, -2, 0, 0, 2, 2, 4]);
        assert_eq!((half_even(14, 10), half_even(-14, 10)), (1, -1));
        assert_eq!((half_even(16, 10), half_even(-16, 10)), (2, -2));
    }

    #[test]
    fn the_last_cent_goes_to_the_largest_remainder() {
        assert_eq!(largest_remainder(10_000, &[1, 1, 1]), [3334, 3333, 3333]);
        assert_eq!(largest_remainder(-10_000, &[1, 1, 1]), [-3334, -3333, -3333]);
        assert_eq!(largest_remainder(100, &[335, 335, 330]), [34, 33, 33]);
        assert_eq!(largest_remainder(1, &[1, 2, 1]), [0, 1, 0]);
        assert_eq!(largest_remainder(7, &[0]), [0]);
    }

    proptest! {
        #[test]
        fn shares_sum_to_the_amount(amount: i64, weights in prop::collection::vec(0..2_000_000_000_i64, 1..9)) {
            prop_assume!(weights.iter().any(|w| *w > 0));
            let shares = largest_remainder(amount, &weights);
            prop_assert_eq!(shares.iter().map(|s| i128::from(*s)).sum::<i128>(), i128::from(amount));
            prop_assert!(shares.iter().zip(&weights).all(|(s, w)| *w > 0 || *s == 0));
        }

        #[test]
        fn rounding_mirrors(n in -1_000_000_i128..1_000_000, d in 1_i128..1_000) {
            prop_assert_eq!(half_even(-n, d), -half_even(n, d));
            prop_assert!((half_even(n, d) * d - n).abs() * 2 <= d);
        }
    }
}
