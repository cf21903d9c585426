/** URLs that people write: stricter than the URL standard, which takes `https:/x` and `https:///x` for `https://x`. */

/** True for `scheme://host…` with one of these schemes, such as `https`, and without white space. */
export function isUrlOf(text: string, ...schemes: string[]): boolean {
  const [, scheme = ''] = /^([a-z]+):\/\/[^\s/\\?#]\S*$/i.exec(text) ?? [];
  return schemes.includes(scheme.toLowerCase()) && URL.canParse(text);
}
