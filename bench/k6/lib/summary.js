// The end of a run: the whole summary as JSON, for scripts/k6_summary_to_md.py, and what matters of it on the terminal.

// summary is a profile's handleSummary. K6_SUMMARY_OUT names the JSON file; its folder has to be there. Without it the
// file is bench/reports/k6-<profile>.json. `load` is what the run was asked for, so that only like is compared with like.
export function summary(profile, load = {}) {
  return (data) => {
    const file = __ENV.K6_SUMMARY_OUT || `${reports()}k6-${profile}.json`;
    return {
      [file]: JSON.stringify({ profile, load, ...data }, null, 2) + '\n',
      stdout: text(profile, data, file),
    };
  };
}

function reports() {
  return import.meta.resolve('../../reports/').replace('file://', '');
}

function text(profile, data, file) {
  const lines = [`\n${profile}: ${(data.state.testRunDurationMs / 1000).toFixed(1)} s`];
  const requests = data.metrics.http_reqs;
  if (requests) lines.push(`  requests    ${requests.values.count}, ${requests.values.rate.toFixed(1)}/s`);
  const duration = data.metrics.http_req_duration;
  if (duration) {
    const of = (name) => `${name} ${duration.values[name].toFixed(1)} ms`;
    lines.push(`  duration    ${['med', 'p(95)', 'p(99)', 'max'].map(of).join(', ')}`);
  }
  const failed = failedChecks(data.root_group);
  if (failed.length > 0) lines.push('  checks that failed', ...failed);
  lines.push('  thresholds');
  for (const name of Object.keys(data.metrics).sort()) {
    const { thresholds, type, values } = data.metrics[name];
    for (const [threshold, { ok }] of Object.entries(thresholds || {})) {
      lines.push(`    ${ok ? 'ok  ' : 'FAIL'}  ${name}: ${threshold}   is ${measured(threshold, type, values)}`);
    }
  }
  lines.push(`  summary     ${file}`);
  return lines.join('\n') + '\n';
}

// measured is the figure that the threshold is about.
function measured(threshold, type, values) {
  const name = /^\s*([a-z]+(?:\([0-9.]+\))?)/.exec(threshold)[1];
  return name in values ? Number(values[name].toPrecision(4)) : JSON.stringify(values);
}

function failedChecks(group) {
  const own = group.checks
    .filter((c) => c.fails > 0)
    .map((c) => `    ${c.name}: ${c.fails} of ${c.passes + c.fails}`);
  return own.concat(...group.groups.map(failedChecks));
}
