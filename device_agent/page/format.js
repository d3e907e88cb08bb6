// Figures as people read them: three significant digits, unit beside.

const digits = (value) => {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return value.toFixed(0);
  return value.toPrecision(3);
};

const known = (value) => value !== null && value !== undefined;

export const number = (value) => (known(value) ? digits(value) : "");
export const ms = (value) => (known(value) ? `${digits(value)} ms` : "");
export const percent = (share) => (known(share) ? `${digits(share * 100)} %` : "");

export function bytes(value) {
  if (!known(value)) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; value >= 1024 && at < units.length - 1; at += 1) value /= 1024;
  return `${at === 0 ? value : digits(value)} ${units[at]}`;
}

export const short = (sha256) => sha256.slice(0, 12);

export function clock(iso) {
  if (!iso) return "";
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? date.toLocaleTimeString() : date.toLocaleString();
}

// Names of files that were sent from this tab: the agent knows files by their content alone.
export function nameOf(sha256) {
  try {
    return sessionStorage.getItem(sha256);
  } catch {
    return null;
  }
}

export function remember(sha256, name) {
  try {
    sessionStorage.setItem(sha256, name);
  } catch {
    // No storage in this window: the hash has to do.
  }
}

export const fileLabel = (sha256) => nameOf(sha256) ?? short(sha256);
