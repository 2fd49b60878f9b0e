// Reads the document of this server, with a key where it is locked, and draws it with Swagger UI.
"use strict";

const form = document.getElementById("unlock");
const trouble = document.getElementById("trouble");

function complain(text) {
  trouble.textContent = text;
  trouble.hidden = !text;
}

function draw(spec, key) {
  const ui = SwaggerUIBundle({
    spec,
    domNode: document.getElementById("docs"),
    presets: [SwaggerUIBundle.presets.apis],
    layout: "BaseLayout",
    deepLinking: true,
    docExpansion: "none",
    filter: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    onComplete() {
      if (key) {
        ui.preauthorizeApiKey("sy_key", key);
      }
    },
  });
}

async function read(key) {
  complain("");
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  try {
    const answer = await fetch("openapi.json", { headers });
    const body = await answer.json();
    form.hidden = answer.status !== 401;
    if (answer.ok) {
      draw(body, key);
    } else if (key || answer.status !== 401) {
      complain(body.error.message);
    }
  } catch (error) {
    complain(`The document cannot be read: ${error.message}`);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  read(document.getElementById("key").value.trim());
});

read("");
