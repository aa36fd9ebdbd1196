//! Which instruction set the kernels use: chosen once at start, or forced.

use std::sync::atomic::{AtomicU8, Ordering};

/// A family of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// Runs everywhere.
    Scalar = 0,
    /// AVX2.
    Avx2 = 1,
    /// AVX-512 (F, BW, VL, DQ) with VBMI and VAES.
    Avx512 = 2,
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The best this machine has.
pub fn best() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("bmi2");
        let avx512 = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vbmi")
            && is_x86_feature_detected!("vaes");
        if avx2 && avx512 {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Scalar
}

/// Chooses by name, or the best.
///
/// # Errors
/// A sentence, if the name is unknown or the machine lacks it.
pub fn choose(name: Option<&str>) -> Result<(), String> {
    let isa = match name {
        None | Some("auto") => best(),
        Some("scalar") => Isa::Scalar,
        Some("avx2") => Isa::Avx2,
        Some("avx512") => Isa::Avx512,
        Some(other) => {
            return Err(format!("unknown instruction set {other:?}; one of auto, avx512, avx2, scalar"))
        }
    };
    if isa > best() {
        return Err(format!("this machine (or build) has no {name:?}", name = name.unwrap_or("")));
    }
    CHOSEN.store(isa as u8, Ordering::Relaxed);
    Ok(())
}

/// The one in use.
pub fn current() -> Isa {
    match CHOSEN.load(Ordering::Relaxed) {
        2 => Isa::Avx512,
        1 => Isa::Avx2,
        _ => Isa::Scalar,
    }
}

/// Its name.
pub fn name() -> &'static str {
    match current() {
        Isa::Avx512 => "avx512",
        Isa::Avx2 => "avx2",
        Isa::Scalar => "scalar",
    }
}
