from tools.local.cli import main

raise SystemExit(main())
