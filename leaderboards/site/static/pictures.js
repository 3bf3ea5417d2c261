// Pictures in the view "Images": clean image, adversarial example and their difference; one file of data for each block.
"use strict";

purebench.sizes = { small: "small", large: "large", none: "not shown" };

/** Returns the choice of the size of pictures; "" if the row has none. */
purebench.pictureChoice = (row, state, change) => {
  const { el } = purebench;
  const options = Object.entries(purebench.sizes).map(([key, label]) =>
    el("option", { value: key, selected: key === state.pics }, label),
  );
  const choice = el("select", { change: (event) => change({ pics: event.target.value }) }, options);
  return row.pictures ? el("label", {}, "Pictures ", choice) : "";
};

/** Returns whether the pictures of a row are shown. */
purebench.pictured = (row, state) => Boolean(row.pictures) && state.pics !== "none";

/** Returns the cell of an image's pictures, which is filled once the file of its block is loaded. */
purebench.pictureCell = (board, row, position, label, state) => {
  const { el } = purebench;
  const cell = el("td", { class: `triple ${state.pics === "large" ? "large" : ""}` }, "loading …");
  const block = Math.floor(position / board.block);
  const wanted = [purebench.load(`${row.pictures}${block}.js`, "examples")];
  if (board.clean) wanted.push(purebench.load(`${board.clean}${block}.js`, "clean"));
  Promise.all(wanted).then(
    ([examples, clean]) => cell.replaceChildren(...drawn(examples[position % board.block], clean)),
    (error) => cell.replaceChildren(el("span", { class: "trouble" }, error.message)),
  );

  function picture(data, text) {
    return el("img", { src: `data:image/png;base64,${data}`, alt: text, title: text });
  }

  function drawn(example, clean) {
    const shown = clean ? [picture(clean[position % board.block], `clean image, class ${label}`)] : [];
    if (!example) return [...shown, el("span", { class: "none" }, "no adversarial example in the bundle")];
    const [adversarial, difference, largest] = example;
    shown.push(picture(adversarial, "adversarial example"));
    if (difference) shown.push(picture(difference, `difference; the largest change of a value is ${largest}`));
    return shown;
  }
  return cell;
};

/** Returns the heading of the column of pictures. */
purebench.pictureHeading = (board) => (board.clean ? "Clean, adversarial, difference" : "Adversarial example");

/** Returns an explanation of the pictures below the table; "" if the board has none. */
purebench.pictureLegend = (board, row) => {
  if (!board.rows.some((one) => one.pictures)) return "";
  if (!row.pictures) return "There are no pictures of this row, because the site was built without its bundle. ";
  return board.clean
    ? "In a difference, grey is no change, and black and white are changes by the largest one of the image. "
    : "The clean images were not available when the site was built, so that the examples were not compared with them. ";
};
