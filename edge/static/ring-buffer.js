// A bounded queue of the newest `capacity` items, oldest first; a further item removes the oldest.

/** @template T */
export class RingBuffer {
  #capacity;
  /** @type {T[]} */
  #items = [];
  #start = 0;

  /** @param {number} capacity */
  constructor(capacity) {
    this.#capacity = capacity;
  }

  get length() {
    return this.#items.length - this.#start;
  }

  /** @param {number} index counted from the oldest, which is 0 */
  at(index) {
    return index < 0 ? undefined : this.#items[this.#start + index];
  }

  /** @param {T} item */
  push(item) {
    this.#items.push(item);
    if (this.length > this.#capacity) this.shift();
  }

  /** Removes and returns the oldest item. */
  shift() {
    const oldest = this.at(0);
    if (this.length > 0) this.#start += 1;
    // Copying the rest only once per `capacity` items keeps every push cheap.
    if (this.#start >= this.#capacity) {
      this.#items = this.#items.slice(this.#start);
      this.#start = 0;
    }
    return oldest;
  }

  clear() {
    this.#items = [];
    this.#start = 0;
  }

  *[Symbol.iterator]() {
    for (let index = 0; index < this.length; index += 1) {
      yield /** @type {T} */ (this.at(index));
    }
  }
}
