// Small helpers over the DOM. Data from the wire reaches the page as text only, never as markup.

/**
 * @template {Element} T
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => T} type
 * @returns {T} the first match; its absence is a fault in the page
 */
export function find(root, selector, type) {
  const element = root.querySelector(selector);
  if (element instanceof type) return element;
  throw new Error(`The page has no ${type.name} at ${selector}`);
}

/**
 * A copy of a <template>'s only element.
 * @param {string} id
 */
export function instantiate(id) {
  const template = find(document, `#${id}`, HTMLTemplateElement);
  const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true)).firstElementChild;
  if (copy instanceof HTMLElement) return copy;
  throw new Error(`The template ${id} is empty`);
}

/** Writes only what changes, so that live regions speak and layouts run only then.
 * @param {Element} element @param {string} text */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {HTMLElement} element @param {boolean} isHidden */
export function setHidden(element, isHidden) {
  if (element.hidden !== isHidden) element.hidden = isHidden;
}

/**
 * Runs `render` at most once per animation frame, however often it is asked to.
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
