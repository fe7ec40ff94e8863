//! From what a user wrote to what the model was trained to read.

use super::model::Model;
use llama_cpp_2::model::{LlamaChatMessage, LlamaChatTemplate};

/// Why a text could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// C strings end at a NUL.
    #[error("the prompt contains a NUL character; remove it")]
    Nul,
    /// A user could end his turn and speak as somebody else.
    #[error("the prompt contains {0:?}, which this model reads as a control token; remove it")]
    Control(String),
    /// llama.cpp knows the common templates, not all of them.
    #[error(
        "the chat template of the model is not one that llama.cpp knows; render the prompt yourself and pass it raw"
    )]
    UnknownTemplate,
}

/// Renders one turn of a user with the chat template in the model file, up to where the answer starts. A user's text must
/// not contain the template's own markers. A model without a template gets the text as it is.
pub fn render(model: &Model, text: &str) -> Result<String, PromptError> {
    match model.llama().chat_template(None) {
        Ok(template) => apply(model, &template, text),
        Err(_) => Ok(text.to_owned()),
    }
}

fn apply(model: &Model, template: &LlamaChatTemplate, text: &str) -> Result<String, PromptError> {
    if let Some(control) = model.control_in(text) {
        return Err(PromptError::Control(control));
    }
    let message = LlamaChatMessage::new("user".into(), text.into()).map_err(|_| PromptError::Nul)?;
    model.llama().apply_chat_template(template, &[message], true).map_err(|_| PromptError::UnknownTemplate)
}
