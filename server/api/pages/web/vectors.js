// Arithmetic on vectors, which are arrays of numbers.
export const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);

export function unit(vector) {
  const length = Math.sqrt(dot(vector, vector)) || 1;
  return vector.map((value) => value / length);
}

// What the server does with the field `dimensions`: the first values, at unit length again.
export const shorten = (vector, dimensions) => unit(vector.slice(0, dimensions));

// Places of the vectors on their first two principal components, and the share of the variance that these show.
// By the matrix of inner products, which is small where the vectors are long.
export function project(vectors) {
  const mean = vectors[0].map((_, axis) => vectors.reduce((sum, vector) => sum + vector[axis], 0) / vectors.length);
  const centred = vectors.map((vector) => vector.map((value, axis) => value - mean[axis]));
  const products = centred.map((a) => centred.map((b) => dot(a, b)));
  const variance = products.reduce((sum, row, index) => sum + row[index], 0) || 1;
  const [first, second] = [principal(products), principal(products)];
  return {
    points: vectors.map((_, index) => [first.places[index], second.places[index]]),
    share: Math.min(1, (first.value + second.value) / variance),
  };
}

// The largest eigenvalue of a symmetric matrix, by power iteration, and each row's place along it. Takes it out of the matrix.
function principal(matrix) {
  let axis = unit(matrix.map((_, index) => Math.cos(index + 1)));
  for (let round = 0; round < 200; round += 1) axis = unit(matrix.map((row) => dot(row, axis)));
  const value = Math.max(0, dot(axis, matrix.map((row) => dot(row, axis))));
  matrix.forEach((row, i) => row.forEach((_, j) => { row[j] -= value * axis[i] * axis[j]; }));
  return { value, places: axis.map((share) => share * Math.sqrt(value)) };
}
