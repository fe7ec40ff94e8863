//! A sheet as PNG: drawn at twice its size and averaged down, so that lines and letters are smooth, in at most 256
//! colours, so that the file is small.

use super::ink::{Ink, draw};
use plotters::prelude::*;
use std::collections::HashMap;

/// Pixels drawn for one of the file, each way.
const OVER: u32 = 2;
/// Colours of the file.
const COLOURS: usize = 256;

/// The bytes of the file.
pub fn png(inks: &[Ink], (width, height): (u32, u32)) -> Result<Vec<u8>, String> {
    let pixels = rendered(inks, (width, height))?;
    let (palette, indices) = indexed(&pixels);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Best);
    encoder.set_filter(png::FilterType::NoFilter);
    encoder.set_palette(palette);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&indices));
    written.map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Red, green and blue of every pixel.
fn rendered(inks: &[Ink], (width, height): (u32, u32)) -> Result<Vec<[u8; 3]>, String> {
    let wide = width as usize * OVER as usize * 3;
    let mut buffer = vec![255; wide * height as usize * OVER as usize];
    let larger: Vec<Ink> = inks.iter().flat_map(|ink| straight(ink.scaled(OVER))).collect();
    draw(&larger, &BitMapBackend::with_buffer(&mut buffer, (width * OVER, height * OVER)).into_drawing_area())?;
    let over = OVER as usize;
    let average = |x: usize, y: usize, channel: usize| {
        let all = (0..over * over).map(|part| {
            let (x, y) = (x * over + part % over, y * over + part / over);
            u32::from(buffer[y * wide + x * 3 + channel])
        });
        u8::try_from(all.sum::<u32>() / (OVER * OVER)).unwrap_or(u8::MAX)
    };
    let pixel = |place: usize| {
        let (x, y) = (place % width as usize, place / width as usize);
        [average(x, y, 0), average(x, y, 1), average(x, y, 2)]
    };
    Ok((0..width as usize * height as usize).map(pixel).collect())
}

/// A line as its straight pieces: the rasterizer draws long spikes where a thick one turns sharply.
fn straight(ink: Ink) -> Vec<Ink> {
    match ink {
        Ink::Path { points, colour, width } if points.len() > 2 => {
            points.windows(2).map(|pair| Ink::Path { points: pair.to_vec(), colour, width }).collect()
        }
        other => vec![other],
    }
}

/// The palette, and the index of every pixel: the most frequent colours, and the nearest of them for all others.
fn indexed(pixels: &[[u8; 3]]) -> (Vec<u8>, Vec<u8>) {
    // Steps of eight are seen by nobody in the soft edge of a letter.
    let coarse = |pixel: &[u8; 3]| pixel.map(|byte| if byte > 251 { 255 } else { byte & 0xF8 });
    let mut counts: HashMap<[u8; 3], usize> = HashMap::new();
    for pixel in pixels {
        *counts.entry(coarse(pixel)).or_default() += 1;
    }
    let mut ranked: Vec<([u8; 3], usize)> = counts.into_iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let palette: Vec<[u8; 3]> = ranked.iter().take(COLOURS).map(|(colour, _)| *colour).collect();
    let nearest = |colour: &[u8; 3]| {
        let apart = |other: &[u8; 3]| -> u32 {
            colour.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(*b)) * u32::from(a.abs_diff(*b))).sum()
        };
        let place = (0..palette.len()).min_by_key(|place| apart(&palette[*place])).unwrap_or(0);
        u8::try_from(place).unwrap_or(0)
    };
    let places: HashMap<[u8; 3], u8> = ranked.iter().map(|(colour, _)| (*colour, nearest(colour))).collect();
    let indices = pixels.iter().map(|pixel| places[&coarse(pixel)]).collect();
    (palette.concat(), indices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_colours_stay_and_many_go_to_the_nearest() {
        let (palette, indices) = indexed(&[[255, 255, 255], [0, 112, 176], [255, 255, 255]]);
        assert_eq!((palette, indices), (vec![255, 255, 255, 0, 112, 176], vec![0, 1, 0]));
        let many: Vec<[u8; 3]> = (0..32u8).flat_map(|r| (0..32u8).map(move |g| [r * 8, g * 8, 0])).collect();
        let (palette, indices) = indexed(&many);
        assert_eq!((palette.len(), indices.len()), (768, 1024));
    }

    #[test]
    fn the_file_has_the_size_of_the_sheet() {
        let fill = Ink::Fill { from: (0.0, 0.0), to: (10.0, 20.0), colour: (0, 0, 0) };
        let bytes = png(&[fill], (40, 30)).unwrap();
        let decoder = png::Decoder::new(bytes.as_slice());
        let mut reader = decoder.read_info().unwrap();
        let mut indices = vec![0; reader.output_buffer_size()];
        reader.next_frame(&mut indices).unwrap();
        assert_eq!((reader.info().width, reader.info().height), (40, 30));
        assert_ne!(indices[5 * 40 + 5], indices[5 * 40 + 30]);
    }
}
