// Small DOM functions. Data from the network enters the page as text only, never as markup.

/**
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T} the first match; throws if the page has none
 */
export function find(root, selector, type) {
  const element = root.querySelector(selector);
  if (element instanceof type) return element;
  throw new Error(`The page has no ${type.name} at ${selector}`);
}

/**
 * Returns a copy of the only element of a <template>.
 * @param {string} id
 */
export function instantiate(id) {
  const template = find(document, `#${id}`, HTMLTemplateElement);
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild;
  if (copy instanceof HTMLElement) return copy;
  throw new Error(`The template ${id} is empty`);
}

/** Writes the text only if it differs: each write makes a live region speak and a layout run.
 * @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} isHidden */
export function setHidden(element, isHidden) {
  if (element.hidden !== isHidden) element.hidden = isHidden;
}

/**
 * Returns a function that runs `render` at most once per animation frame.
 * @param {() => void} render
 */
export function oncePerFrame(render) {
  let isScheduled = false;
  return () => {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(() => {
      isScheduled = false;
      render();
    });
  };
}
