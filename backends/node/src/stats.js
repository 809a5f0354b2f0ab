/** What happened, counted so that a test can ask how often a request was really executed. */

const MOST_IDS = 10_000;
const LONGEST_ID = 200;

export class Stats {
  requests = 0;
  executions = 0;
  cancelled = 0;

  /** @type {Map<string, number>} */
  #dialects = new Map();

  /** @type {Map<string, number>} in the order of last use */
  #executed = new Map();

  /**
   * Counts one execution. Only the last 10,000 ids are kept, so memory stays bounded.
   *
   * @param {string | undefined} requestId
   * @param {string} [dialect]
   */
  execute(requestId, dialect = 'infer') {
    this.executions += 1;
    this.#dialects.set(dialect, (this.#dialects.get(dialect) ?? 0) + 1);
    if (!requestId) return;
    const id = requestId.slice(0, LONGEST_ID);
    const count = this.#executed.get(id) ?? 0;
    this.#executed.delete(id);
    this.#executed.set(id, count + 1);
    if (this.#executed.size > MOST_IDS) {
      const [oldest] = this.#executed.keys();
      this.#executed.delete(oldest);
    }
  }

  /** @param {string | null} [onlyId] */
  snapshot(onlyId = null) {
    const wanted = onlyId?.slice(0, LONGEST_ID);
    const executed = [...this.#executed].filter(([id]) => onlyId === null || id === wanted);
    return {
      requests: this.requests,
      executions: this.executions,
      cancelled: this.cancelled,
      dialects: Object.fromEntries([...this.#dialects].sort()),
      executed: Object.fromEntries(executed),
    };
  }
}
