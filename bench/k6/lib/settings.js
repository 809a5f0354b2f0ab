// What every profile reads from the environment. Pure JavaScript, so that node can test it: the environment is an argument.

// settings reads what the environment `env` says of a profile that pushes `standard` = { rate, seconds } as a rule, and
// `quick` when K6_QUICK is set. RATE (a second) and DURATION (90, "90s", "2m", "1h30m") overrule both.
export function settings(env, standard, quick) {
  const normal = flag(env, 'K6_QUICK') ? quick : standard;
  return {
    baseURL: url(env.BASE_URL || 'http://localhost:8080', 'BASE_URL'),
    adminURL: url(env.ADMIN_URL || env.BASE_URL || 'http://localhost:8080', 'ADMIN_URL'),
    rate: count(env, 'RATE', normal.rate),
    seconds: env.DURATION ? seconds(env.DURATION) : normal.seconds,
  };
}

// flag is whether the variable is set to a yes.
export function flag(env, name) {
  const value = (env[name] || '').toLowerCase();
  if (['', '0', 'false', 'no', 'off'].includes(value)) return false;
  if (['1', 'true', 'yes', 'on'].includes(value)) return true;
  throw new Error(`${name}=${env[name]}: want yes or no`);
}

// count is the variable as a whole number of at least 1.
export function count(env, name, standard) {
  if (!env[name]) return standard;
  if (!/^[1-9][0-9]{0,8}$/.test(env[name])) throw new Error(`${name}=${env[name]}: want a whole number of at least 1`);
  return Number(env[name]);
}

// seconds is a duration in whole seconds.
export function seconds(text) {
  const found = /^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?$/.exec(text);
  const total = found ? 3600 * (found[1] || 0) + 60 * (found[2] || 0) + Number(found[3] || 0) : 0;
  if (total < 1) throw new Error(`DURATION=${text}: want seconds, or a duration such as 90s, 2m or 1h30m`);
  return total;
}

function url(text, name) {
  if (!/^https?:\/\/[^/?#\s]+\/*$/.test(text)) throw new Error(`${name}=${text}: want http://host:port, without a path`);
  return text.replace(/\/+$/, '');
}
