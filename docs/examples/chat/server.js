import { serve } from '../site.js';

serve(new URL('index.html', import.meta.url), () => ({ 'chat:*': ['subscribe', 'publish'] }));
