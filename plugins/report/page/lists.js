// A list of any length of which only the rows in sight are in the document. It is a listbox to assistive technology:
// it has the focus, and says which of its rows is the active one.

class List {
  /**
   * `fill(element, index)` writes a row; `choose(index)` is told what the user chose; `fold(index, open)` that the user
   * closes a row or, with true, opens it, and returns whether that can be.
   */
  constructor(box, rowHeight, fill, choose, fold = () => false) {
    this.box = box;
    this.rowHeight = rowHeight;
    this.fill = fill;
    this.choose = choose;
    this.count = 0;
    this.active = -1;
    this.rows = new Map();
    this.spacer = document.createElement("div");
    this.spacer.className = "spacer";
    this.spacer.setAttribute("role", "presentation");
    box.append(this.spacer);
    box.addEventListener("scroll", () => this.draw());
    box.addEventListener("click", (event) => {
      const row = event.target.closest("[data-index]");
      if (!row) return;
      const index = Number(row.dataset.index);
      const folds = event.target.closest("[data-fold]");
      if (!folds || !fold(index, folds.dataset.fold === "open")) this.pick(index);
    });
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        if (this.active >= 0 && fold(this.active, event.key === "ArrowRight")) event.preventDefault();
        return;
      }
      const page = Math.max(1, Math.floor(box.clientHeight / rowHeight) - 1);
      const to = {
        ArrowDown: this.active + 1,
        ArrowUp: this.active - 1,
        PageDown: this.active + page,
        PageUp: this.active - page,
        Home: 0,
        End: this.count - 1,
      }[event.key];
      if (to === undefined || this.count === 0) return;
      event.preventDefault();
      this.pick(Math.min(Math.max(to, 0), this.count - 1));
    });
    new ResizeObserver(() => this.draw()).observe(box);
  }

  /** Shows so many rows, all of them new. */
  reset(count, active) {
    this.count = count;
    this.active = active;
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.spacer.style.height = `${count * this.rowHeight}px`;
    this.draw();
  }

  pick(index) {
    this.activate(index);
    this.choose(index);
  }

  /** Marks a row and brings it into sight. */
  activate(index) {
    const before = this.rows.get(this.active);
    this.active = index;
    if (before) before.setAttribute("aria-selected", "false");
    const top = index * this.rowHeight;
    if (index < 0) return;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.rowHeight > this.box.scrollTop + this.box.clientHeight) {
      this.box.scrollTop = top + this.rowHeight - this.box.clientHeight;
    }
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.rowHeight) - 4);
    const last = Math.min(this.count, Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.rowHeight) + 4);
    for (const [index, row] of this.rows) {
      if (index < first || index >= last) {
        row.remove();
        this.rows.delete(index);
      }
    }
    for (let index = first; index < last; index += 1) {
      let row = this.rows.get(index);
      if (!row) {
        row = document.createElement("div");
        row.className = "row";
        row.id = `${this.box.id}-${index}`;
        row.dataset.index = index;
        row.setAttribute("role", "option");
        row.setAttribute("aria-setsize", this.count);
        row.setAttribute("aria-posinset", index + 1);
        row.style.top = `${index * this.rowHeight}px`;
        this.fill(row, index);
        this.rows.set(index, row);
        this.spacer.append(row);
      }
      row.setAttribute("aria-selected", String(index === this.active));
    }
    if (this.rows.has(this.active)) this.box.setAttribute("aria-activedescendant", `${this.box.id}-${this.active}`);
    else this.box.removeAttribute("aria-activedescendant");
  }
}

/** An element with a class and text. All text of the page is set here, as text. */
function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}
