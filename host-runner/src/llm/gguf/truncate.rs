//! The same model with fewer layers.
//!
//! An exit behind layer `k` is by definition the model that has only its first `k` layers. This writes that model, with
//! the bytes of the weights as they are, so that llama.cpp alone can say what it answers.

use super::writer::push_text;
use super::{GgufError, Header};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Why a file could not be cut.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// The file is no sound GGUF file.
    #[error(transparent)]
    File(#[from] GgufError),
    /// Reading or writing failed.
    #[error("the truncated copy cannot be written: {0}; is there room in the temporary folder?")]
    Io(#[from] io::Error),
    /// The model lies in several files.
    #[error("the model is split into several files; merge them first (llama-gguf-split --merge)")]
    Split,
    /// The layer count is not where it should be.
    #[error("the file does not say how many layers it has in a 32-bit number; convert the model again")]
    LayerCount,
}

/// Writes the first `layers` layers of the llama model at `path` to `to`. `layers` is at least 1 and at most what the
/// file has.
pub fn truncate(path: &Path, layers: u32, to: &mut impl Write) -> Result<(), TruncateError> {
    let header = Header::open(path)?;
    if header.count("split.count").unwrap_or(1) > 1 {
        return Err(TruncateError::Split);
    }
    let mut file = BufReader::new(File::open(path).map_err(GgufError::Io)?);
    let mut head = Vec::new();
    file.by_ref().take(header.infos_at).read_to_end(&mut head)?;
    let whole = header.count("llama.block_count").and_then(|count| u32::try_from(count).ok());
    let place = header.places.get("llama.block_count").and_then(|&place| usize::try_from(place).ok());
    let field = place.and_then(|place| head.get_mut(place..place + 4)).ok_or(TruncateError::LayerCount)?;
    if whole.is_none_or(|whole| field != whole.to_le_bytes() || !(1..=whole).contains(&layers)) {
        return Err(TruncateError::LayerCount);
    }
    field.copy_from_slice(&layers.to_le_bytes());

    let kept: Vec<_> =
        header.tensors.iter().filter(|tensor| layer_of(&tensor.name).is_none_or(|l| l < layers)).collect();
    // Behind magic and version.
    head[8..16].copy_from_slice(&(kept.len() as u64).to_le_bytes());
    let mut offset = 0_u64;
    for tensor in &kept {
        push_text(&mut head, &tensor.name);
        head.extend(u32::try_from(tensor.dimensions.len()).unwrap_or(u32::MAX).to_le_bytes());
        head.extend(tensor.dimensions.iter().flat_map(|dimension| dimension.to_le_bytes()));
        head.extend(tensor.ggml_type.to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += tensor.bytes.next_multiple_of(header.alignment);
    }
    to.write_all(&head)?;
    pad(head.len() as u64, header.alignment, to)?;
    for tensor in &kept {
        file.seek(SeekFrom::Start(header.data_at + tensor.offset))?;
        let copied = io::copy(&mut file.by_ref().take(tensor.bytes), to)?;
        if copied != tensor.bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        pad(copied, header.alignment, to)?;
    }
    Ok(())
}

/// Fills up to the next multiple of `alignment`.
fn pad(written: u64, alignment: u64, to: &mut impl Write) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(written.next_multiple_of(alignment) - written), to).map(|_| ())
}

/// The layer that a tensor belongs to.
fn layer_of(name: &str) -> Option<u32> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_told_by_name() {
        assert_eq!(layer_of("blk.12.attn_q.weight"), Some(12));
        for name in ["output.weight", "blk.weight", "blk..x", "token_embd.weight"] {
            assert_eq!(layer_of(name), None, "{name}");
        }
    }
}
