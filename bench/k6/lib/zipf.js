// A Zipf distribution, drawn exactly and the same in every run. Pure JavaScript, so that node can test it.

// zipf is the distribution of ranks 1 to n in which rank k has a probability proportional to 1/k^s.
//
//   rank(u)        the rank that u, uniform in [0, 1), falls on: inversion of the distribution function, no approximation
//   probability(k) of rank k
//   hitRatio(m)    the share of m draws, as it is expected, whose rank was drawn before: what a cache that forgets nothing answers
export function zipf(n, s) {
  const upTo = new Float64Array(n + 1); // upTo[k]: the weights of 1 to k
  for (let k = 1; k <= n; k++) upTo[k] = upTo[k - 1] + Math.pow(k, -s);
  const total = upTo[n];
  const probability = (k) => Math.pow(k, -s) / total;
  return {
    probability,
    rank(u) {
      const weight = u * total;
      let low = 1;
      let high = n; // the smallest k with upTo[k] > weight is in low..high
      while (low < high) {
        const middle = (low + high) >> 1;
        if (upTo[middle] > weight) high = middle;
        else low = middle + 1;
      }
      return low;
    },
    hitRatio(draws) {
      let distinct = 0;
      for (let k = 1; k <= n; k++) distinct += 1 - Math.pow(1 - probability(k), draws);
      return 1 - distinct / draws;
    },
  };
}

// uniform is a number in [0, 1) that depends on its arguments only, so that the i-th request of a run asks the same whichever
// virtual user sends it. `stream` separates draws for different purposes.
export function uniform(seed, stream, i) {
  const high = mix(mix(mix(seed) ^ stream) ^ i);
  const low = mix(high ^ 0x9e3779b9);
  return ((high >>> 0) * 0x200000 + (low >>> 11)) / 0x20000000000000; // 32 and 21 bits: 53
}

// mix is the finaliser of MurmurHash3 after a step of a Weyl sequence, which moves zero: a bijection of 32 bits in which each
// bit depends on all.
function mix(x) {
  x = (x + 0x9e3779b9) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}
