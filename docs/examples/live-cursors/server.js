import { serve } from '../site.js';

serve(new URL('index.html', import.meta.url), () => ({ 'cursors:*': ['subscribe', 'publish'] }));
