/** The key of the HTTP API of the gateways that are measured; 20 characters. */
export const benchApiKey = 'a-key-for-benchmarks';
