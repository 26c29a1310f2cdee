//! Which instruction sets this machine has, and which one is used.
//!
//! In: what the processor says, and the `DNN_ISA` environment variable. Out: an [`Isa`].
//! An [`Isa`] that the processor lacks can't be made, so holding one is the proof that its instructions may run.

#[cfg(target_arch = "x86_64")]
use crate::amx;
use std::fmt;

/// The names of the instruction sets, fastest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// 512-bit vectors: AVX-512 F, BW, DQ and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 256-bit vectors: AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain Rust: the twin that the others are tested against. Always there, and slow.
    Scalar,
}

/// What products of float32 do with their factors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    /// Take them as they are.
    Exact,
    /// Round them to bfloat16, in vectors of pairs: `bf16.rs`.
    Pairs,
    /// Take so many numbers of bfloat16 for each, which nearly add up to it, in tiles: `amx.rs`.
    Tiles {
        /// 1 rounds them; 2 have an error near 4e-6; 3 are the whole number.
        parts: usize,
    },
}

/// An instruction set that this processor has.
///
/// # Examples
/// ```
/// use dnn_kernels::Isa;
/// assert_eq!(Isa::available().last(), Some(&Isa::SCALAR));
/// assert_eq!(Isa::named("scalar"), Ok(Isa::SCALAR));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Isa {
    pub(crate) name: Name,
    /// Whether products may use tiles: those of AMX, or their twin where the name is `scalar`.
    pub(crate) tiles: bool,
    pub(crate) factors: Factors,
}

/// Why a name is no instruction set to use here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsaError {
    /// No such name; carries what was asked for.
    Unknown(String),
    /// The name is known, but this processor lacks the instructions.
    Missing(String),
    /// The name stands in `DNN_ISA`.
    Environment(Box<IsaError>),
}

impl Isa {
    /// Plain Rust, on every machine.
    pub const SCALAR: Isa = Isa::exact(Name::Scalar);

    /// Plain Rust, on every machine, with the arithmetic of [AMX](Isa::with_bf16): the twin of its tiles.
    pub const SCALAR_AMX: Isa = Isa { tiles: true, ..Isa::SCALAR };

    const fn exact(name: Name) -> Isa {
        Isa { name, tiles: false, factors: Factors::Exact }
    }

    /// The sets that this processor has, fastest first; `scalar` is always the last. `amx` is AVX-512 with tiles.
    pub fn available() -> Vec<Isa> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            let avx2 = has!("avx2") && has!("fma");
            if avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") {
                if has!("avx512bf16") && amx::is_there() {
                    found.push(Isa { tiles: true, ..Isa::exact(Name::Avx512) });
                }
                found.push(Isa::exact(Name::Avx512));
            }
            if avx2 {
                found.push(Isa::exact(Name::Avx2));
            }
        }
        found.push(Isa::SCALAR);
        found
    }

    /// The set of this name, if the processor has it; `scalar-amx` is [`Isa::SCALAR_AMX`].
    ///
    /// # Errors
    /// [`IsaError`] when there is no such name, or not on this processor.
    pub fn named(name: &str) -> Result<Isa, IsaError> {
        if let Some(found) = Isa::available().into_iter().find(|isa| isa.name() == name) {
            return Ok(found);
        }
        match name {
            "scalar-amx" => Ok(Isa::SCALAR_AMX),
            "amx" | "avx512" | "avx2" => Err(IsaError::Missing(name.to_owned())),
            _ => Err(IsaError::Unknown(name.to_owned())),
        }
    }

    /// The set that is used when nobody asks: `DNN_ISA` where it is set, else the fastest.
    ///
    /// # Errors
    /// [`IsaError`] when `DNN_ISA` holds something that [`Isa::named`] refuses.
    pub fn preferred() -> Result<Isa, IsaError> {
        match std::env::var("DNN_ISA") {
            Ok(name) if !name.is_empty() => Isa::named(&name).map_err(|error| IsaError::Environment(Box::new(error))),
            _ => Ok(Isa::available()[0]),
        }
    }

    /// The same set, whose three products of a dense layer in float32 round their factors to bfloat16 and add up in
    /// float32, where that is worth it: in the tiles of AMX, or in vectors of pairs. A processor without instructions for
    /// it gets the set as it is, apart from `scalar`, which is the twin. Where the system keeps no tiles for this process,
    /// `amx` becomes `avx512`.
    pub fn with_bf16(self) -> Isa {
        let there = match self.name {
            #[cfg(target_arch = "x86_64")]
            Name::Avx512 => std::arch::is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Name::Avx2 => false,
            Name::Scalar => true,
        };
        let tiles = self.may_use_tiles();
        let factors = match (tiles, there) {
            (true, _) => Factors::Tiles { parts: 1 },
            (false, true) => Factors::Pairs,
            (false, false) => Factors::Exact,
        };
        Isa { tiles, factors, ..self }
    }

    /// The same set, whose three products of a dense layer in float32 take two numbers of bfloat16 for each factor, with
    /// an error near 4e-6. Sets without tiles stay as they are, as they would only lose time.
    pub fn with_split(self) -> Isa {
        let tiles = self.may_use_tiles();
        Isa { tiles, factors: if tiles { Factors::Tiles { parts: 2 } } else { Factors::Exact }, ..self }
    }

    /// Whether it has tiles and this process may use them, which is asked only here.
    fn may_use_tiles(self) -> bool {
        match self.name {
            #[cfg(target_arch = "x86_64")]
            Name::Avx512 => self.tiles && amx::is_permitted(),
            _ => self.tiles,
        }
    }

    /// The same set, whose three products of a dense layer in float32 take three numbers of bfloat16 for each factor,
    /// which add up to it, where that is faster: with an error no larger than that of fused multiply-adds. Sets without
    /// tiles stay as they are.
    pub fn with_whole(self) -> Isa {
        let tiles = self.may_use_tiles();
        Isa { tiles, factors: if tiles { Factors::Tiles { parts: 3 } } else { Factors::Exact }, ..self }
    }

    /// The same set, whose products are exact up to the rounding of their type.
    pub fn without_bf16(self) -> Isa {
        Isa { factors: Factors::Exact, ..self }
    }

    /// Whether factors of products of float32 become bfloat16.
    pub fn has_bf16(self) -> bool {
        self.factors != Factors::Exact
    }

    /// How many numbers of bfloat16 stand for a factor of products of float32; 0 where it is taken as it is.
    pub fn parts(self) -> usize {
        match self.factors {
            Factors::Exact => 0,
            Factors::Pairs => 1,
            Factors::Tiles { parts } => parts,
        }
    }

    /// `"amx"`, `"avx512"`, `"avx2"`, `"scalar"` or `"scalar-amx"`.
    pub fn name(self) -> &'static str {
        match self.name {
            #[cfg(target_arch = "x86_64")]
            Name::Avx512 if self.tiles => "amx",
            #[cfg(target_arch = "x86_64")]
            Name::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Name::Avx2 => "avx2",
            Name::Scalar if self.tiles => "scalar-amx",
            Name::Scalar => "scalar",
        }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for IsaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let have: Vec<&str> = Isa::available().into_iter().chain([Isa::SCALAR_AMX]).map(Isa::name).collect();
        let have = have.join(", ");
        match self {
            IsaError::Unknown(name) => write!(f, "there is no instruction set {name:?}; this machine has {have}"),
            IsaError::Environment(error) => write!(f, "DNN_ISA: {error}"),
            IsaError::Missing(name) => write!(f, "this machine lacks instruction set {name:?}; it has {have}"),
        }
    }
}

impl std::error::Error for IsaError {}

/// The features of this processor that matter here, for reports.
pub fn cpu_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let all = [
            ("sse2", has!("sse2")),
            ("avx", has!("avx")),
            ("avx2", has!("avx2")),
            ("fma", has!("fma")),
            ("avx512f", has!("avx512f")),
            ("avx512bw", has!("avx512bw")),
            ("avx512dq", has!("avx512dq")),
            ("avx512vl", has!("avx512vl")),
            ("avx512vnni", has!("avx512vnni")),
            ("avx512bf16", has!("avx512bf16")),
            ("amx_bf16", amx::is_there()),
        ];
        all.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}
